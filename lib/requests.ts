/**
 * Requests that the engine works on: their numbers, and who waits for the answers.
 *
 * Never calls the addon.
 *
 * @module
 */

/** The requests of one kind that have no answer yet. */
export class Requests<T> {
  readonly #asked = new Map<number, (answer: T | undefined) => void>()
  #count = 0

  /** Sends a request with a number of its own. Resolves to its answer; undefined: it did not go, or none will come. */
  async ask(send: (request: number) => boolean): Promise<T | undefined> {
    // The addon counts in 32 bits.
    const request = this.#count++ >>> 0
    if (!send(request)) return undefined
    return new Promise((resolve) => this.#asked.set(request, resolve))
  }

  /** The engine's answer to a request. */
  answer(request: number, answer?: T): void {
    const resolve = this.#asked.get(request)
    this.#asked.delete(request)
    resolve?.(answer)
  }

  /** No more answers will come. */
  close(): void {
    for (const request of this.#asked.keys()) this.answer(request)
  }
}
