/**
 * Arguments of the subcommands: what a subcommand is, and how its flags are read.
 *
 * Knows no flag of its own.
 *
 * @module
 */
import { type ParseArgsConfig, parseArgs } from 'node:util'
import { LONGEST_MS } from '../lib/timers.js'

/** A subcommand. */
export interface Command {
  usage(): string
  /** Resolves with the exit code. */
  run(args: string[]): Promise<number>
}

/** A mistake of whoever called: told in one line, without a stack. */
export class UsageError extends Error {}

/** Somebody asks how a subcommand is used. */
export class HelpRequest extends Error {}

type Flags = NonNullable<ParseArgsConfig['options']>

const HELP = { help: { type: 'boolean', short: 'h' } } as const

/** Flags and other arguments, strictly: an unknown flag is a mistake. `--help` is a flag of every subcommand. */
export function parsed<const T extends Flags>(args: string[], options: T) {
  const { values, positionals } = strictly(() =>
    parseArgs({ args, options: { ...options, ...HELP }, allowPositionals: true }),
  )
  if ((values as { help?: boolean }).help) throw new HelpRequest()
  return { values, positionals }
}

function strictly<T>(parse: () => T): T {
  try {
    return parse()
  } catch (cause) {
    // The first sentence says what is wrong, those behind it speak to programmers.
    throw new UsageError((cause as Error).message.split(/\. |\n/, 1)[0])
  }
}

/** The arguments that are no flags, each with a name; `least` of them must be there, others only may. */
export function named(positionals: string[], names: string[], least = names.length): string[] {
  const missing = names.slice(positionals.length, least)[0]
  if (missing !== undefined) throw new UsageError(`<${missing}> is missing; try --help`)
  if (positionals.length > names.length) throw new UsageError(`unexpected argument '${positionals[names.length]}'`)
  return positionals
}

/** A flag's time in seconds, fractions allowed, as milliseconds. */
export function milliseconds(flag: string, text: string, most = LONGEST_MS): number {
  const value = Math.round(Number(text) * 1_000)
  if (/^\d+(\.\d+)?$/.test(text) && value >= 0 && value <= most) return value
  throw new UsageError(`--${flag}: expected seconds, such as 5 or 0.5, at most ${Math.floor(most / 1_000)}`)
}
