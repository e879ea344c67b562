/**
 * Publications that wait for room: of each topic in order, no more than so many, and not for ever.
 *
 * Never asks by itself whether there is room: it is told, and then tries once more, and so it does before it gives one up.
 *
 * @module
 */
import { WseError } from './errors.js'
import type { Position } from './types.js'

/** Publications that wait at most; what comes then is rejected at once. */
const MOST_WAITING = 10_000
/** Their characters at most. */
const MOST_CHARACTERS = 64 << 20

/** What has no room: the memory of all queues, or a reader of the topic. */
export type Lacking = 'memory' | 'reader'

/** Hands a publication to the engine: its place in the log, null without one, or what there was no room in. */
type Place = () => Position | null | Lacking

interface Waiting {
  readonly topic: string
  readonly length: number
  readonly place: Place
  /** When it is given up, in milliseconds. */
  readonly until: number
  readonly resolve: (position: Position | null) => void
  readonly reject: (cause: unknown) => void
}

const isLacking = (placed: ReturnType<Place>): placed is Lacking => typeof placed === 'string'

export class Publications {
  readonly #timeoutMs: number
  /** In the order in which they came. */
  #waiting: Waiting[] = []
  /** How many of each topic wait. */
  readonly #topics = new Map<string, number>()
  #characters = 0
  #timer: NodeJS.Timeout | undefined

  /** Each waits for `timeoutMs` at most; 0: without end. */
  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs || Number.POSITIVE_INFINITY
  }

  /**
   * Places a publication of `length` characters, now or when there is room, behind those of its topic that wait.
   *
   * Rejects with `WSE_SERVER_OVERLOADED`, `WSE_SERVER_CLOSED` and what `place` throws.
   */
  async publish(topic: string, length: number, place: Place): Promise<Position | null> {
    if (!this.#topics.has(topic)) {
      const placed = place()
      if (!isLacking(placed)) return placed
    }
    if (this.#waiting.length >= MOST_WAITING || this.#characters + length > MOST_CHARACTERS) {
      throw overloaded('too many publications wait for room')
    }
    const until = performance.now() + this.#timeoutMs
    this.#topics.set(topic, (this.#topics.get(topic) ?? 0) + 1)
    this.#characters += length
    return new Promise((resolve, reject) => {
      this.#waiting.push({ topic, length, place, until, resolve, reject })
      this.#watch()
    })
  }

  /**
   * There may be room: those that wait try again, but for what is no shorter than one that memory has no room for. What
   * has waited for too long is given up, and holds up nothing behind it.
   */
  resume(): void {
    const now = performance.now()
    const held = new Set<string>()
    let most = Number.POSITIVE_INFINITY
    this.#sift((one) => {
      const isLate = one.until <= now
      try {
        if (!held.has(one.topic)) {
          const placed = one.length < most ? one.place() : 'memory'
          if (!isLacking(placed)) {
            one.resolve(placed)
            return false
          }
          if (placed === 'memory') most = Math.min(most, one.length)
          if (placed === 'reader' || !isLate) held.add(one.topic)
        }
        if (!isLate) return true
        one.reject(overloaded(`there was no room for the publication within ${this.#timeoutMs} ms`))
      } catch (cause) {
        one.reject(cause)
      }
      return false
    })
  }

  /** Nothing is published any more. */
  close(): void {
    this.#sift(({ reject }) => {
      reject(new WseError('WSE_SERVER_CLOSED', 'the server was closed while the publication waited for room'))
      return false
    })
  }

  /** Keeps those for which `stays` says so. */
  #sift(stays: (one: Waiting) => boolean): void {
    this.#waiting = this.#waiting.filter((one) => {
      if (stays(one)) return true
      this.#characters -= one.length
      const left = (this.#topics.get(one.topic) ?? 1) - 1
      if (left > 0) this.#topics.set(one.topic, left)
      else this.#topics.delete(one.topic)
      return false
    })
    this.#watch()
  }

  /** Looks after the one that has waited for longest. */
  #watch(): void {
    const [oldest] = this.#waiting
    if (oldest && !this.#timer && Number.isFinite(oldest.until)) {
      const expire = () => {
        this.#timer = undefined
        this.resume()
      }
      this.#timer = setTimeout(expire, Math.ceil(oldest.until - performance.now()))
    } else if (!oldest) {
      clearTimeout(this.#timer)
      this.#timer = undefined
    }
  }
}

const overloaded = (reason: string) => new WseError('WSE_SERVER_OVERLOADED', `${reason}: see memory()`)
