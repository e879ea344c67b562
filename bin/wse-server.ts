#!/usr/bin/env node
/**
 * The command: finds the subcommand and says how it ended.
 *
 * Owns the exit code: 0 well, 1 it failed, 2 whoever called made a mistake. Never what a subcommand does.
 *
 * @module
 */
import { createRequire } from 'node:module'
import { type Command, HelpRequest, UsageError } from './arguments.js'
import { escaped, guardOutput } from './output.js'

/** Loaded when asked for: a server needs no client. */
const COMMANDS: Record<string, () => Promise<Command>> = {
  serve: async () => (await import('./serve.js')).serve,
  token: async () => (await import('./token.js')).token,
  publish: async () => (await import('./publish.js')).publish,
  tail: async () => (await import('./tail.js')).tail,
  doctor: async () => (await import('./doctor.js')).doctor,
}

const USAGE = `Usage: wse-server <command> [arguments]

  serve     a server on a port of its own, from a configuration
  token     makes and inspects tokens
  publish   sends one message and prints what is answered
  tail      subscribes to topics and prints what comes, a line of JSON each
  doctor    finds out why a client cannot connect

wse-server <command> --help says more. Flags without a command are those of serve.`

async function run([name = '', ...rest]: string[]): Promise<number> {
  if (name === '--help' || name === '-h') {
    console.log(USAGE)
    return 0
  }
  if (name === '--version') {
    console.log(createRequire(import.meta.url)('wse-server/package.json').version)
    return 0
  }
  const isFlag = name.startsWith('-')
  const wanted = isFlag ? 'serve' : name
  const load = Object.hasOwn(COMMANDS, wanted) ? COMMANDS[wanted] : undefined
  if (!load) throw new UsageError(name === '' ? USAGE : `unknown command '${name}'; try --help`)
  const command = await load()
  try {
    return await command.run(isFlag ? [name, ...rest] : rest)
  } catch (cause) {
    if (!(cause instanceof HelpRequest)) throw cause
    console.log(command.usage())
    return 0
  }
}

guardOutput()
try {
  process.exitCode = await run(process.argv.slice(2))
} catch (cause) {
  const isMistake = cause instanceof UsageError
  console.error(isMistake ? cause.message : escaped(`wse-server: ${(cause as Error).message}`))
  process.exitCode = isMistake ? 2 : 1
}
