/**
 * What an operator is told: the engine's lines and the faults of the application's code, through its logger.
 *
 * Bounded: a line that would repeat is counted, and said once a second. Never lets a logger's own fault out.
 *
 * @module
 */
import { inspect } from 'node:util'
import type { Logger, LogLevel } from './options.js'
import type { JsonObject } from './types.js'

/** A level and a name, and what is to be said beside them. */
export type Line = readonly [level: Level, event: string, fields: JsonObject]

type Level = Exclude<LogLevel, 'silent'>

/** From the least urgent. */
const LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const
const MAY_REPEAT = new Set(['wse.error', 'wse.overload'])
/** How long a line that repeats is counted before it is said again, in milliseconds. */
const INTERVAL_MS = 1_000

/** Calls `work` after so many milliseconds, unless the process ends before. */
export type After = (ms: number, work: () => void) => void

const timer: After = (ms, work) => void setTimeout(work, ms).unref()

/** What happened again since it was last said. */
interface Repeat {
  count: number
  /** Says the latest, and how many there were. */
  say: (count: number) => void
}

/** What was thrown, which may itself throw when it is looked at. */
function described(cause: unknown): string {
  try {
    return inspect(cause)
  } catch {
    return 'something that cannot be shown'
  }
}

/** The log of one server. */
export class Log {
  readonly #logger: Logger | undefined
  readonly #least: number
  readonly #after: After
  /** By what is the same about them: a small set, because no name, address or text of a client is part of it. */
  readonly #repeats = new Map<string, Repeat>()
  #isClosed = false

  constructor(logger: Logger | undefined, level: LogLevel, after = timer) {
    this.#logger = logger
    this.#least = LEVELS.indexOf(level)
    this.#after = after
  }

  /** Whether there is a logger to tell. Without one, faults of the application become warnings of the process. */
  get hasLogger(): boolean {
    return this.#logger !== undefined
  }

  /** Says a line. Those of `wse.error` and `wse.overload` that are the same are said once a second. */
  say([level, event, fields]: Line): void {
    const write = (count: number) => this.#write(level, event, count > 1 ? { ...fields, repeated: count } : fields)
    const count = fields.repeated ?? 1
    if (!MAY_REPEAT.has(event)) write(count)
    else this.#bounded([event, fields.reason ?? fields.code, fields.status, fields.callback].join(), count, write)
  }

  /**
   * Says a fault of the application's code: an error of the log, or, without a logger, a warning of the process
   * of the type `warning`.
   */
  fault(warning: string, message: string, fields: JsonObject & { code: string; err: unknown }): void {
    if (this.#logger) this.say(['error', 'wse.error', { ...fields, message }])
    else this.#warn(warning, message, fields.err, fields.callback)
  }

  #warn(type: string, message: string, cause: unknown, callback?: string): void {
    this.#bounded([type, callback].join(), 1, (count) => {
      const times = count > 1 ? ` (${count} times)` : ''
      process.emitWarning(`${message}${times}`, { type, detail: described(cause) })
    })
  }

  /** Says at once what was only counted so far; from now on nothing is counted any more. */
  close(): void {
    this.#isClosed = true
    for (const key of [...this.#repeats.keys()]) this.#sayCounted(key)
  }

  #bounded(key: string, count: number, say: (count: number) => void): void {
    if (this.#isClosed) {
      // The process may end before a second is over, and there is not much more to come.
      say(count)
      return
    }
    const known = this.#repeats.get(key)
    if (known) {
      known.count += count
      known.say = say
      return
    }
    this.#repeats.set(key, { count: 0, say })
    this.#after(INTERVAL_MS, () => this.#lookAgain(key))
    say(count)
  }

  #lookAgain(key: string): void {
    if (this.#sayCounted(key)) this.#after(INTERVAL_MS, () => this.#lookAgain(key))
    else this.#repeats.delete(key)
  }

  #sayCounted(key: string): boolean {
    const repeat = this.#repeats.get(key)
    if (!repeat || repeat.count === 0) return false
    const { count, say } = repeat
    repeat.count = 0
    say(count)
    return true
  }

  #write(level: Level, event: string, fields: JsonObject): void {
    if (!this.#logger || LEVELS.indexOf(level) < this.#least) return
    try {
      const told: unknown = this.#logger[level](fields, event)
      if (told instanceof Promise) told.catch(this.#onLoggerFault)
    } catch (cause) {
      this.#onLoggerFault(cause)
    }
  }

  readonly #onLoggerFault = (cause: unknown): void => this.#warn('WseLoggerWarning', 'the logger failed', cause)
}
