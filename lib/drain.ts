/**
 * How the application takes events: it asks, and waits only when there are none.
 *
 * Lets the host's event loop breathe: after a slice of work the next batch comes in a later turn of the loop.
 *
 * @module
 */
import { translated, WseError } from './errors.js'
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
  #isBusy = false
  #isClosed = false
  #isPresent = false
  #loops = 0

  constructor(handle: number) {
    this.#handle = handle
    this.#source = new EventSource(handle)
  }

  /** Events in JavaScript's memory that the application has not taken. */
  get left(): number {
    return this.#source.left
  }

  /** Something waits: the addon's wake-up. */
  wake(): void {
    const resume = this.#waiting
    this.#waiting = undefined
    resume?.()
  }

  /** The engine has ended: what it still has is kept here and handed out; no more will come. */
  close(): void {
    this.#source.close()
    this.#isClosed = true
    this.wake()
  }

  /**
   * Up to `most` events; waits up to `timeoutMs` for the first one, for ever without. One call at a time, so that
   * the events of a connection stay in order.
   */
  async take(most: number, timeoutMs = Number.POSITIVE_INFINITY): Promise<InboundEvent[]> {
    if (!Number.isSafeInteger(most) || most < 1) {
      throw new WseError('WSE_OPTION_INVALID', 'batchSize: expected a whole number from 1')
    }
    // Written so that NaN is refused too: it would wait for ever.
    if (!(timeoutMs >= 0)) throw new WseError('WSE_OPTION_INVALID', 'timeoutMs: expected a number from 0')
    if (this.#isBusy) throw new WseError('WSE_DRAIN_BUSY', 'another call is draining: await it first')
    this.#isBusy = true
    try {
      this.#setPresent(true)
      return await this.#collect(most, timeoutMs)
    } finally {
      this.#isBusy = false
    }
  }

  /** Batches until the engine is closed. Leaving the last loop means that nobody drains. */
  async *[Symbol.asyncIterator](): AsyncGenerator<InboundEvent[], void, undefined> {
    this.#loops += 1
    try {
      for (;;) {
        const events = await this.take(BATCH)
        if (events.length === 0) return
        yield events
      }
    } finally {
      this.#loops -= 1
      if (this.#loops === 0 && !this.#isBusy) this.#setPresent(false)
    }
  }

  async #collect(most: number, timeoutMs: number): Promise<InboundEvent[]> {
    const deadline = performance.now() + timeoutMs
    let hasSlept = false
    let events = this.#source.take(most)
    while (events.length === 0 && !this.#isClosed) {
      const left = deadline - performance.now()
      if (left <= 0) break
      if (!translated(() => native.wait(this.#handle))) {
        await this.#sleep(left)
        hasSlept = true
      }
      events = this.#source.take(most)
    }
    if (hasSlept) this.#sliceBegan = performance.now()
    // An empty batch ends the turn too: whoever asks again and again must not starve the host.
    else if (events.length === 0 || performance.now() - this.#sliceBegan >= SLICE_MS) await this.#breathe()
    return events
  }

  #setPresent(isPresent: boolean): void {
    if (this.#isPresent === isPresent || this.#isClosed) return
    this.#isPresent = isPresent
    translated(() => native.setConsumer(this.#handle, isPresent))
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

  /** Ends the turn of the event loop, and with it the slice. */
  async #breathe(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve))
    this.#sliceBegan = performance.now()
  }
}
