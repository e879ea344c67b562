#!/usr/bin/env node
/**
 * The command: an engine on a port of its own, described by a JSON file.
 *
 * Owns the arguments, the file and the signals; never what an option means.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { type ListenOptions, WseServer } from 'wse-server'

const USAGE = `Usage: wse-server serve [--config FILE]

Serves WebSockets on a port of its own until it gets SIGTERM or SIGINT.

  --config FILE   JSON: the options of the server, and host, port and tls of its address
  --help          this text

WSE_HOST and WSE_PORT win over the file. Without either the port is 8000, on all addresses.`

/** A fault of whoever called: told in one line, without a stack. */
class UsageError extends Error {}

function commandLine(): { command: string | undefined; config: string | undefined; help: boolean } {
  try {
    const { positionals, values } = parseArgs({
      options: { config: { type: 'string' }, help: { type: 'boolean', default: false } },
      allowPositionals: true,
    })
    if (positionals.length > 1) throw new UsageError(`unexpected argument '${positionals[1]}'`)
    return { command: positionals[0], config: values.config, help: values.help }
  } catch (cause) {
    throw new UsageError((cause as Error).message)
  }
}

function configuration(path: string): Record<string, unknown> {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    throw new UsageError(`cannot read the configuration: ${(cause as Error).message}`)
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new UsageError(`${path} is not JSON: ${(cause as Error).message}`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new UsageError(`${path}: expected an object with options`)
  }
  return value as Record<string, unknown>
}

async function serve(path: string | undefined): Promise<void> {
  const { host, port, tls, ...options } = path === undefined ? {} : configuration(path)
  const { WSE_HOST, WSE_PORT } = process.env
  // What an option may be is said by the server, also where a file has it.
  const address = {
    host: WSE_HOST || host,
    port: WSE_PORT ? Number(WSE_PORT) : (port ?? 8000),
    tls,
  } as ListenOptions
  const wse = new WseServer(options)
  const { port: bound } = await wse.listen(address)
  // A second signal ends the process at once: nobody listens for it any more.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void wse.close())
  const scheme = tls === undefined ? 'ws' : 'wss'
  const name = address.host ?? '0.0.0.0'
  console.log(`${scheme}://${name.includes(':') ? `[${name}]` : name}:${bound}${options.path ?? '/wse'}`)
}

try {
  const { command, config, help } = commandLine()
  if (help) console.log(USAGE)
  else if (command === 'serve') await serve(config)
  else throw new UsageError(command === undefined ? USAGE : `unknown command '${command}'; try --help`)
} catch (cause) {
  const isFault = cause instanceof UsageError
  console.error(isFault ? cause.message : `wse-server: ${(cause as Error).message}`)
  process.exitCode = isFault ? 2 : 1
}
