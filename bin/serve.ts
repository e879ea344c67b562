/**
 * `serve`: an engine on a port of its own until a signal ends it.
 *
 * Owns the signals and what is printed; never what an option means.
 *
 * @module
 */
import { constants } from 'node:os'
import { inspect } from 'node:util'
import { type Logger, WseServer } from 'wse-server'
import { type Command, named, parsed } from './arguments.js'
import { Configuration, SETTINGS, unknownVariables } from './configuration.js'

const usage = (): string => `Usage: wse-server serve [--config FILE] [--OPTION VALUE …]

Serves WebSockets until it gets SIGTERM or SIGINT, and prints its address. A second signal ends it at once.

  --config FILE   the options of the server, with host, port and tls of its address: .json, or a module (.mjs, .js,
                  .ts where the runtime loads TypeScript) that exports them as default

Every option is a flag and a variable too; flags win over the environment, and that over the file. Lists are
separated by commas. WSE_HEARTBEAT_INTERVAL, in seconds, is understood as well. Without a port it is 8000.
With logLevel and no logger, the log goes to the standard error, a line of JSON each.

${SETTINGS.map(({ flag, variable }) => `  --${flag.padEnd(33)} ${variable}`).join('\n')}`

/** Lines of JSON on the standard error. */
function lines(): Logger {
  const write =
    (level: string): Logger['info'] =>
    ({ err, ...fields }, event) => {
      const fault = err === undefined ? {} : { err: inspect(err) }
      console.error(JSON.stringify({ time: new Date().toISOString(), level, event, ...fields, ...fault }))
    }
  return { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }
}

async function run(args: string[]): Promise<number> {
  const own = { config: { type: 'string' } } as const
  const flags = Object.fromEntries(SETTINGS.map(({ flag }) => [flag, { type: 'string', multiple: true }] as const))
  const { values, positionals } = parsed(args, { ...flags, ...own })
  named(positionals, [])
  const { config, ...given } = values as { config?: string } & Record<string, string[]>
  for (const name of unknownVariables(process.env)) console.error(`${name} is no setting of this version: ignored`)

  // From here on: what follows may wait for others, and in a container nothing else ends a process that has no handler.
  const stop = new AbortController()
  const onSignal = (signal: 'SIGINT' | 'SIGTERM') => {
    if (stop.signal.aborted) process.exit(128 + constants.signals[signal])
    stop.abort(signal)
  }
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal)
  const configuration = await Configuration.read(config, process.env, given)
  const { options, address } = configuration
  if (stop.signal.aborted) return 0
  const hasLog = options.logger === undefined && options.logLevel !== undefined
  try {
    const wse = new WseServer(hasLog ? { ...options, logger: lines() } : options)
    stop.signal.addEventListener('abort', () => {
      // With this option the server drains at that signal, and then closes by itself.
      if (stop.signal.reason !== 'SIGTERM' || !options.drainOnSigterm) void wse.close()
    })
    const { port } = await wse.listen(address)
    const scheme = address.tls === undefined ? 'ws' : 'wss'
    const name = address.host ?? '0.0.0.0'
    console.log(`${scheme}://${name.includes(':') ? `[${name}]` : name}:${port}${options.path ?? '/wse'}`)
    return 0
  } catch (cause) {
    if (stop.signal.aborted) return 0
    throw configuration.explain(cause)
  }
}

export const serve: Command = { usage, run }
