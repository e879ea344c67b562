/**
 * The event log: an append-only file, one JSON line for each decision.
 *
 * Owns the file and the numbering of events. Never interprets an event.
 */
import { closeSync, fsyncSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import type { DeskEvent, Logged } from './events.js'

export class EventLog {
  readonly #file: number
  readonly #past: Logged[] = []
  readonly #listeners: ((event: Logged) => void)[] = []
  #lastSeq = 0

  /** Opens the log at `path`, creating it where there is none. A half-written last line is cut off. */
  constructor(path: string) {
    mkdirSync(dirname(path), { recursive: true })
    this.#file = openSync(path, 'a+')
    const bytes = readFileSync(path)
    const whole = bytes.lastIndexOf('\n') + 1
    if (whole < bytes.length) ftruncateSync(this.#file, whole)
    for (const line of bytes.toString('utf8', 0, whole).split('\n')) {
      if (line !== '') this.#past.push(...(JSON.parse(line) as Logged[]))
    }
    this.#lastSeq = this.#past.at(-1)?.logSeq ?? 0
  }

  /** The number of the last event, 0 in an empty log. */
  get lastSeq(): number {
    return this.#lastSeq
  }

  /** Everything that was in the file when it was opened. The log lets go of it: this can be asked once. */
  takePast(): Logged[] {
    return this.#past.splice(0)
  }

  /** Calls `listener` with each event from now on, in order, after it was written. */
  onAppended(listener: (event: Logged) => void): void {
    this.#listeners.push(listener)
  }

  /**
   * Writes the events of one decision as one line, so that a crash leaves all of them or none.
   *
   * Synchronous: a decision takes effect only once it is written, and the next one has to see it.
   */
  append(...events: DeskEvent[]): void {
    const at = new Date().toISOString()
    const logged = events.map((event, index): Logged => ({ ...event, logSeq: this.#lastSeq + 1 + index, at }))
    writeSync(this.#file, `${JSON.stringify(logged)}\n`)
    this.#lastSeq += logged.length
    for (const event of logged) for (const listener of this.#listeners) listener(event)
  }

  /** Brings the file to the disk and closes it. */
  close(): void {
    fsyncSync(this.#file)
    closeSync(this.#file)
  }
}
