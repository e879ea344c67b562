/**
 * `doctor`: goes the way of a client step by step, and says where it ends and what usually leads to that.
 *
 * @module
 */
import { type Command, milliseconds, named, parsed } from './arguments.js'
import { ask } from './endpoint.js'
import type { Examination, Finding } from './finding.js'
import { inspect } from './jwt.js'
import { reach } from './network.js'
import { escaped } from './output.js'
import { TARGET_FLAGS, TARGET_USAGE, type Target, targetOf } from './target.js'
import { converse } from './traffic.js'

const usage = (): string => `Usage: wse-server doctor URL [flags]

Goes the way of a client: the name, TCP, TLS, HTTP, the clocks, the token, the upgrade, the greeting, messages, and
silence until the first heartbeat. Says which step failed and what usually leads to that. The exit code is 0 when none
failed, else 1.

  --idle SECONDS     how long to wait for the heartbeat; default 70, 0 leaves it out
  --json             a line of JSON for each step
${TARGET_USAGE}`

async function* examine(target: Target, idleMs: number): Examination<true> {
  if ((yield* reach(target)) === null) return null
  const endpoint = yield* ask(target)
  if (endpoint === null) return null
  yield judge(target.token, Date.now() + endpoint.skewMs)
  return yield* converse(target, endpoint, idleMs)
}

/** What can be said of the token without the server's key, by the server's clock. */
function judge(token: string | undefined, now: number): Finding {
  if (token === undefined) return { step: 'token', status: 'skip', text: 'none given' }
  const inspection = inspect(token, { now })
  if (inspection === null) {
    const cause = "only a server's own authenticate function can read it"
    return { step: 'token', status: 'warn', text: 'it is no JWT', cause }
  }
  const { header, claims, faults } = inspection
  const text = `${JSON.stringify(header.alg)}, for ${JSON.stringify(claims.sub)}`
  if (faults.length === 0) return { step: 'token', status: 'ok', text }
  const cause = 'the client has to fetch a new token before each connection'
  return { step: 'token', status: 'fail', text: `${text}: ${faults.join('; ')}`, cause }
}

function print({ step, status, text, cause }: Finding): void {
  console.log(`${status.padEnd(4)}  ${step.padEnd(8)}  ${escaped(text)}`)
  if (cause !== undefined) console.log(`${' '.repeat(16)}usually: ${escaped(cause)}`)
}

async function run(args: string[]): Promise<number> {
  const own = { idle: { type: 'string', default: '70' }, json: { type: 'boolean', default: false } } as const
  const { values, positionals } = parsed(args, { ...TARGET_FLAGS, ...own })
  const [address = ''] = named(positionals, ['url'])
  const target = targetOf(address, values)
  let hasFailed = false
  for await (const finding of examine(target, milliseconds('idle', values.idle))) {
    hasFailed ||= finding.status === 'fail'
    if (values.json) console.log(escaped(JSON.stringify(finding)))
    else print(finding)
  }
  return hasFailed ? 1 : 0
}

export const doctor: Command = { usage, run }
