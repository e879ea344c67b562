/**
 * The life of a server: new, running, closing, closed; and its process, which lives as long.
 *
 * Owns which step may follow which, and never what a step does.
 *
 * @module
 */
import { WseError } from './errors.js'
import { LONGEST_MS } from './timers.js'

export class Life {
  #state: 'new' | 'running' | 'closing' | 'closed' = 'new'
  #keepAlive: NodeJS.Timeout | undefined

  get isRunning(): boolean {
    return this.#state === 'running'
  }

  /** After the end the addon knows the handle no more, and nothing is there to be told. */
  get isGone(): boolean {
    return this.#state === 'closed'
  }

  /** Throws `WSE_SERVER_STARTED`, `WSE_SERVER_CLOSED`. */
  begin(): void {
    this.ensureOpen()
    if (this.isRunning) {
      throw new WseError('WSE_SERVER_STARTED', 'the server listens or is attached already: one server, one entrance')
    }
    this.#state = 'running'
    this.#hold()
  }

  /** A start that failed leaves the server as it was. False: it was closed meanwhile, and stays so. */
  giveUp(): boolean {
    if (!this.isRunning) return false
    this.#state = 'new'
    this.#release()
    return true
  }

  /** Begins to end; the process lives on until the end. */
  close(): void {
    this.#state = 'closing'
    this.#hold()
  }

  end(): void {
    this.#state = 'closed'
    this.#release()
  }

  /** Throws `WSE_SERVER_CLOSED`. */
  ensureOpen(): void {
    if (this.#state === 'closing' || this.#state === 'closed') {
      throw new WseError('WSE_SERVER_CLOSED', 'the server is closed')
    }
  }

  #hold(): void {
    this.#keepAlive ??= setInterval(() => {}, LONGEST_MS)
  }

  #release(): void {
    clearInterval(this.#keepAlive)
    this.#keepAlive = undefined
  }
}
