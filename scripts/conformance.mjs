// `npm run conformance`: the well-known cases for RFC 6455 against an echo server of the built package.
// All of them take a while: groups 12 and 13 are about permessage-deflate and send some 200 000 messages. `-- 6 9.1.*`
// runs other groups or cases, `--address HOST:PORT` another server, `--takeover` one that keeps its windows.
// Prints a line for each case, `case<tab>verdict<tab>verdict on the close`, as the report has them, then the sum;
// fails unless each case is passed strictly.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ensureBuilt } from './addon.mjs'
import { ensurePackages } from './packages.mjs'
import { CommandFailed, observe, script } from './process.mjs'
import { ensureEnvironment } from './python.mjs'

const GROUPS = ['1', '2', '3', '4', '5', '6', '7', '9', '10', '12', '13']
/** Cases side by side: most of their time is waiting, except where they send many messages within a deadline. */
const PARALLEL = 8
const PARALLEL_OF_MANY = 2
/** Groups of a thousand messages a case. */
const MANY = /^1[23]\b/
/** What RFC 6455 leaves open: these report what a server does and judge nobody. */
const UNJUDGED = ['7.1.6', '7.13.1', '7.13.2']

/** Runs cases against the server at `address`, which echoes at the path `/`; resolves to `[case, verdicts]` of each. */
async function judge(address, patterns) {
  const many = patterns.filter((pattern) => MANY.test(pattern))
  const others = patterns.filter((pattern) => !MANY.test(pattern))
  return [...(await judgeSome(address, others, PARALLEL)), ...(await judgeSome(address, many, PARALLEL_OF_MANY))]
}

async function judgeSome(address, patterns, parallel) {
  if (patterns.length === 0) return []
  const runner = join(await ensureEnvironment('conformance'), 'kosoku')
  const report = mkdtempSync(join(tmpdir(), 'conformance-'))
  try {
    const included = patterns.flatMap((pattern) => ['-i', /^\d+$/.test(pattern) ? `${pattern}.*` : pattern])
    const args = [...included, '-p', String(parallel), '-o', report, address]
    // It fails for some verdicts and not for others: only the report counts.
    const { code } = await observe(runner, args, { quiet: true })
    const [verdicts] = Object.values(readReport(report) ?? {})
    if (verdicts === undefined) throw new CommandFailed([runner, ...args].join(' '), code)
    return Object.entries(verdicts).sort(([one], [other]) => one.localeCompare(other, 'en', { numeric: true }))
  } finally {
    rmSync(report, { recursive: true })
  }
}

function readReport(folder) {
  try {
    return JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8'))
  } catch (error) {
    if (error.code === 'ENOENT') return null
    throw error
  }
}

function isStrict([name, { behavior, behaviorClose }]) {
  const good = UNJUDGED.includes(name) ? ['OK', 'INFORMATIONAL'] : ['OK']
  return good.includes(behavior) && good.includes(behaviorClose)
}

/** Calls `use` with the address of an echo server that runs meanwhile. */
async function withEcho(perMessageDeflate, use) {
  await ensurePackages()
  await ensureBuilt()
  const { WseServer } = await import('wse-server')
  const server = new WseServer({ mode: 'echo', path: '/', perMessageDeflate })
  try {
    const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
    return await use(`127.0.0.1:${port}`)
  } finally {
    await server.close()
  }
}

if (process.argv[1] === import.meta.filename) {
  await script(async () => {
    const { values, positionals } = parseArgs({
      options: { address: { type: 'string' }, takeover: { type: 'boolean', default: false } },
      allowPositionals: true,
    })
    const perMessageDeflate = { serverContextTakeover: values.takeover, clientContextTakeover: values.takeover }
    const run = (address) => judge(address, positionals.length > 0 ? positionals : GROUPS)
    const verdicts = await (values.address === undefined ? withEcho(perMessageDeflate, run) : run(values.address))
    for (const [name, { behavior, behaviorClose }] of verdicts) console.log(`${name}\t${behavior}\t${behaviorClose}`)
    const failed = verdicts.filter((verdict) => !isStrict(verdict)).map(([name]) => name)
    console.log(
      failed.length === 0 ? `${verdicts.length} cases, all passed strictly.` : `Not passed: ${failed.join(', ')}`,
    )
    if (failed.length > 0) process.exitCode = 1
  })
}
