/**
 * How the application takes events: it asks, and waits only when there are none.
 *
 * Lets the host's event loop breathe: after a slice of work the next batch comes in a later turn of the loop.
 *
 * @module
 */
import { WseError } from './errors.js'
import { EventSource } from './events.js'
import { native } from './native.js'
import type { InboundEvent } from './types.js'

/** How long batches may follow each other within one turn of the event loop, in milliseconds. */
const SLICE_MS = 5
/** Events of one batch of the iterator at most. */
const BATCH = 1_024

/** The consumer's end of an engine's events. */
export class Drain {
  readonly #handle: number
  readonly #source: EventSource
  #waiting: (() => void) | undefined
  #sliceBegan = 0
  #isClosed = false
  #isPresent = false

  constructor(handle: number) {
    this.#handle = handle
    this.#source = new EventSource(handle)
  }

  /** Events of the batch at hand that the application has not taken. */
  get left(): number {
    return this.#source.left
  }

  /** Something waits: the addon's wake-up. */
  wake(): void {
    const resume = this.#waiting
    this.#waiting = undefined
    resume?.()
  }

  /** No more events will come; whoever waits gets an empty batch. */
  close(): void {
    this.#isClosed = true
    this.wake()
  }

  /** Up to `most` events; waits up to `timeoutMs` for the first one, for ever without. */
  async take(most: number, timeoutMs?: number): Promise<InboundEvent[]> {
    if (this.#waiting) throw new WseError('WSE_DRAIN_BUSY', 'another call is draining: await it first')
    this.#setPresent(true)
    let events = this.#isClosed ? [] : this.#source.take(most)
    if (events.length > 0) {
      await this.#breathe()
      return events
    }
    const deadline = timeoutMs === undefined ? Number.POSITIVE_INFINITY : performance.now() + timeoutMs
    while (events.length === 0 && !this.#isClosed) {
      const left = deadline - performance.now()
      if (left <= 0) break
      if (!native.wait(this.#handle)) await this.#sleep(left)
      if (!this.#isClosed) events = this.#source.take(most)
    }
    this.#sliceBegan = performance.now()
    return events
  }

  /** Batches until the engine is closed. Leaving the loop means that nobody drains. */
  async *[Symbol.asyncIterator](): AsyncGenerator<InboundEvent[], void, undefined> {
    try {
      for (;;) {
        const events = await this.take(BATCH)
        if (events.length === 0) return
        yield events
      }
    } finally {
      this.#setPresent(false)
    }
  }

  #setPresent(isPresent: boolean): void {
    if (this.#isPresent === isPresent || this.#isClosed) return
    this.#isPresent = isPresent
    native.setConsumer(this.#handle, isPresent)
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = ms < 2 ** 31 ? setTimeout(() => this.wake(), ms) : undefined
      this.#waiting = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  /** Ends the turn of the event loop when its slice is used up. */
  async #breathe(): Promise<void> {
    if (performance.now() - this.#sliceBegan < SLICE_MS) return
    await new Promise((resolve) => setImmediate(resolve))
    this.#sliceBegan = performance.now()
  }
}
