/**
 * Sending everyone away: once, by a call or by a signal.
 *
 * Owns who waits for it and the signal's handler. In which order connections are told is the engine's.
 *
 * @module
 */
import type { Server as HttpServer } from 'node:http'
import type { Server as HttpsServer } from 'node:https'
import type { DrainOptions } from './options.js'

/** How a server is drained, with all defaults. */
export type Pace = Required<DrainOptions>

/** What a host's requests have when their server ends, in milliseconds. */
const LINGER_MS = 2_000

export class Draining {
  /** Shards that have not sent their connections away; below zero: those that ended before. */
  #shards = 0
  #drained: Promise<void> | undefined
  #finish: (() => void) | undefined
  #onSignal: (() => void) | undefined

  /** Whether it has begun: nobody is let in from then on. */
  get hasBegun(): boolean {
    return this.#drained !== undefined
  }

  /** Begins with `start`, which says how many shards there are, or joins what has begun. */
  begin(start: () => number): Promise<void> {
    this.#drained ??= new Promise((resolve) => {
      this.#finish = resolve
      this.#shards += start()
      if (this.#shards <= 0) resolve()
    })
    return this.#drained
  }

  /** A shard has sent its connections away, or has ended. */
  shardIsDone(): void {
    this.#shards -= 1
    if (this.#shards <= 0) this.#finish?.()
  }

  /** Calls `leave` at the first SIGTERM; the second ends the process at once, as it would without this. */
  onSigterm(leave: () => void): void {
    this.#onSignal = leave
    process.once('SIGTERM', leave)
  }

  /** The server has ended, or has not begun: nobody waits, and the signal is the process's own again. */
  end(): void {
    this.#finish?.()
    if (this.#onSignal) process.off('SIGTERM', this.#onSignal)
  }
}

/** Ends a host, its requests after two seconds at most: somebody who never ends his would keep the process for ever. */
export function endHost(host: HttpServer | HttpsServer): void {
  host.close()
  setTimeout(() => host.closeAllConnections(), LINGER_MS).unref()
}
