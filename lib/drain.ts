/**
 * How the application takes events: it asks, and waits only when there are none, or it listens. What it answers by
 * handlers goes to these in its place among the events.
 *
 * Lets the host's event loop breathe: after a slice of work the next events come in a later turn of the loop.
 *
 * @module
 */
import { translated, WseError } from './errors.js'
import { EventSource, type Incoming } from './events.js'
import type { InboundEvent } from './inbound.js'
import { native } from './native.js'
import { LONGEST_MS } from './timers.js'

/** How long batches may follow each other within one turn of the event loop, in milliseconds. */
const SLICE_MS = 5
/** Events of one batch of the iterator at most. */
const BATCH = 1_024
/** Single events between two looks at the clock, which costs as much as an event. */
const UNTIMED = 16

/** Takes events as they come, one by one. */
export interface Listener {
  /** Whether it takes another one now; where not, it calls {@link Drain.resume} later. */
  hasRoom(): boolean
  hand(event: Incoming): void
}

/** What counts as dropped when nobody wants it: the beginning and the end of a connection do not. */
const MESSAGES: ReadonlySet<Incoming['type']> = new Set(['msg', 'raw', 'bin'])

/** The consumer's end of an engine's events. */
export class Drain {
  readonly #handle: number
  readonly #source: EventSource
  #waiting: (() => void) | undefined
  #sliceBegan = 0
  #isBusy = false
  #isClosed = false
  /** Whether the application takes events. */
  #isPresent = false
  /** What the engine was told last. */
  #isTold = false
  #loops = 0
  #listener: Listener | undefined
  /** Where requests go, whoever takes the other events. */
  #requests: Listener | undefined
  /** Whether requests are taken also while nobody takes events. */
  #isAttended = false
  #isResuming = false

  /** See {@link EventSource} for `hasEnvelopes`. */
  constructor(handle: number, hasEnvelopes: boolean) {
    this.#handle = handle
    this.#source = new EventSource(handle, hasEnvelopes)
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
    this.#hand()
  }

  /** The engine has ended: what it still has is kept here and handed out; no more will come. */
  close(): void {
    this.#source.close()
    this.#isClosed = true
    // Not before the server, which is in the middle of its end, has come to it.
    queueMicrotask(() => this.wake())
  }

  /**
   * From now on every event goes to `listener`, in place of the one before; undefined: nobody listens any more.
   *
   * Throws `WSE_CONSUMER_TAKEN` while somebody asks or loops.
   */
  listen(listener: Listener | undefined): void {
    if (listener === this.#listener) return
    if (!this.#listener && (this.#isBusy || this.#loops > 0)) {
      throw new WseError('WSE_CONSUMER_TAKEN', 'drain(), drainInbound() or events() takes the events')
    }
    this.#listener = listener
    this.#setPresent(listener !== undefined)
    this.resume()
  }

  /** Hands every request to `listener`, before the event behind it is taken. Once. */
  serve(listener: Listener): void {
    this.#requests = listener
  }

  /**
   * From the next turn of the event loop on requests are taken also while nobody takes events, or no more. What comes
   * beside them is then dropped, and messages are counted. Whoever begins to take events in this turn finds them all.
   */
  attend(isAttended: boolean): void {
    setImmediate(() => {
      this.#isAttended = isAttended
      this.#tell()
      this.#hand()
    })
  }

  /** A listener has room again: it is handed events in the next turn of the event loop. */
  resume(): void {
    if (this.#isResuming) return
    this.#isResuming = true
    setImmediate(() => {
      this.#isResuming = false
      this.wake()
    })
  }

  /** Who is handed what comes, request or not. */
  get #receiver(): Listener | undefined {
    return this.#listener ?? (this.#isAttended && !this.#isPresent ? this.#requests : undefined)
  }

  #hand(): void {
    const began = performance.now()
    let unheard = 0
    for (let n = 1, receiver = this.#receiver; receiver?.hasRoom(); n++, receiver = this.#receiver) {
      const event = this.#source.next()
      if (!event) {
        if (!this.#expect()) break
      } else if (receiver === this.#listener || event.type === 'request') receiver.hand(event)
      else if (MESSAGES.has(event.type)) unheard += 1
      if (n % UNTIMED === 0 && performance.now() - began >= SLICE_MS) {
        this.resume()
        break
      }
    }
    if (unheard > 0 && !this.#isClosed) translated(() => native.countUnheard(this.#handle, unheard))
  }

  /** Hands over the requests that are next. True: there are more of them, and the host has its turn first. */
  #handRequests(): boolean {
    for (let n = 1; this.#source.isRequest && (this.#isClosed || this.#requests?.hasRoom()); n++) {
      this.#requests?.hand(this.#source.next() as Incoming)
      if (n % UNTIMED === 0 && this.#isSliceOver) return true
    }
    return false
  }

  /** Whether the application can take an event now. */
  get #hasEvent(): boolean {
    return this.#source.hasNext && !this.#source.isRequest
  }

  /** Whether a request is next that nobody has room for: those behind it wait too, in order. */
  get #isHeldUp(): boolean {
    return this.#source.isRequest && !this.#requests?.hasRoom()
  }

  #next(): InboundEvent | undefined {
    return this.#hasEvent ? (this.#source.next() as InboundEvent) : undefined
  }

  /** Asks to be woken for the next event; true: one waits already. */
  #expect(): boolean {
    return !this.#isClosed && translated(() => native.wait(this.#handle))
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
    return (await this.#isReady(timeoutMs)) ? this.#source.take(most) : []
  }

  /** Batches until the engine is closed. Leaving the last loop means that nobody drains. */
  async *batches(): AsyncGenerator<InboundEvent[], void, undefined> {
    this.#loops += 1
    try {
      for (;;) {
        const events = await this.take(BATCH)
        if (events.length === 0) return
        yield events
      }
    } finally {
      this.#leave()
    }
  }

  /**
   * Single events until the engine is closed; what a loop has not reached when it is left stays for the next one.
   *
   * An iterator by hand, because a generator costs half as much again for each event.
   */
  events(): AsyncIterableIterator<InboundEvent> {
    let state: 'new' | 'looping' | 'over' = 'new'
    let taken = 0
    const over = () => {
      if (state === 'looping') this.#leave()
      state = 'over'
      return { done: true, value: undefined } as const
    }
    const wait = async (): Promise<IteratorResult<InboundEvent>> => {
      if (state === 'over') return over()
      if (state === 'new') {
        this.#loops += 1
        state = 'looping'
      }
      try {
        const event =
          (await this.#isReady(undefined, () => state === 'over')) && state === 'looping' ? this.#next() : undefined
        if (event) return { done: false, value: event }
        // Given up while it waited: only now does nobody take events.
        this.#rest()
        return over()
      } catch (cause) {
        over()
        throw cause
      }
    }
    let last: Promise<IteratorResult<InboundEvent>> | undefined
    /** Calls that come while one waits are answered behind it, as those of a generator are. */
    const queued = (): Promise<IteratorResult<InboundEvent>> => {
      const result = last ? last.then(wait, wait) : wait()
      last = result
      const finish = () => {
        if (last === result) last = undefined
      }
      result.then(finish, finish)
      return result
    }
    return {
      next: () => {
        if (state === 'over') return Promise.resolve(over())
        taken += 1
        const isTimed = taken % UNTIMED === 0
        if (last || state === 'new' || this.#isBusy || (isTimed && this.#isSliceOver)) return queued()
        const event = this.#next()
        return event ? Promise.resolve({ done: false, value: event }) : queued()
      },
      return: () => {
        const result = over()
        // Whoever still waits waits for nothing.
        this.wake()
        return Promise.resolve(result)
      },
      [Symbol.asyncIterator]() {
        return this
      },
    }
  }

  /**
   * Whether there are events to take; waits up to `timeoutMs` for them. One call at a time, so that the events of
   * a connection stay in order.
   */
  async #isReady(timeoutMs = Number.POSITIVE_INFINITY, isGivenUp = () => false): Promise<boolean> {
    if (this.#listener) throw new WseError('WSE_CONSUMER_TAKEN', 'setCallbacks() takes the events')
    if (this.#isBusy) throw new WseError('WSE_DRAIN_BUSY', 'another call is draining: await it first')
    this.#isBusy = true
    try {
      this.#setPresent(true)
      return await this.#wait(timeoutMs, isGivenUp)
    } finally {
      this.#isBusy = false
    }
  }

  async #wait(timeoutMs: number, isGivenUp: () => boolean): Promise<boolean> {
    const deadline = performance.now() + timeoutMs
    let hasSlept = false
    while (!isGivenUp()) {
      const hasMore = this.#handRequests()
      if (this.#hasEvent || (this.#isClosed && !this.#source.hasNext)) break
      const left = deadline - performance.now()
      if (left <= 0) break
      if (hasMore) {
        await this.#breathe()
        continue
      }
      // One look decides: what has come since the one above is in this process now, and nobody is woken for it.
      const canGoOn = this.#source.hasNext ? !this.#isHeldUp : this.#expect()
      if (canGoOn) continue
      await this.#sleep(left)
      hasSlept = true
    }
    if (hasSlept) this.#sliceBegan = performance.now()
    // Nothing ends the turn too: whoever asks again and again must not starve the host.
    else if (!this.#hasEvent || this.#isSliceOver) await this.#breathe()
    return this.#hasEvent
  }

  get #isSliceOver(): boolean {
    return performance.now() - this.#sliceBegan >= SLICE_MS
  }

  #leave(): void {
    this.#loops -= 1
    this.#rest()
  }

  /** Says that nobody takes events, if that is so. */
  #rest(): void {
    if (this.#loops === 0 && !this.#isBusy && !this.#listener) this.#setPresent(false)
  }

  #setPresent(isPresent: boolean): void {
    if (this.#isPresent === isPresent || this.#isClosed) return
    this.#isPresent = isPresent
    this.#tell()
    if (!isPresent) this.resume()
  }

  /** Tells the engine whether somebody takes what it hands over. */
  #tell(): void {
    const isTaken = this.#isPresent || this.#isAttended
    if (this.#isTold === isTaken || this.#isClosed) return
    this.#isTold = isTaken
    translated(() => native.setConsumer(this.#handle, isTaken))
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = ms <= LONGEST_MS ? setTimeout(() => this.wake(), ms) : undefined
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
