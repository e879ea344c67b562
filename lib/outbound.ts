/**
 * What an application sends and publishes, on its way to the shards.
 *
 * Calls hand bytes over and wait for nothing. What was handed over in one go leaves in one write, because the shards
 * learn of it when the calling code has finished its turn. What waits for room to be published is in publications.ts; all other
 * queues are the engine's.
 *
 * @module
 */
import { isUint8Array } from 'node:util/types'
import { translated, WseError } from './errors.js'
import { adding, objectText } from './json.js'
import type { Life } from './life.js'
import { native } from './native.js'
import { Publications } from './publications.js'
import { ensureKnown } from './schema.js'
import { LONGEST_MS } from './timers.js'
import { priority as importance } from './topic-options.js'
import type { OutboundEvent, Position, PublishOptions, SendOptions } from './types.js'

/** The longest key of a publication, in bytes. */
const MAX_KEY = 255

export class Outbound {
  readonly #handle: number
  readonly #life: Life
  readonly #publications: Publications
  #isFlushing = false

  constructor(handle: number, life: Life, publishTimeoutMs: number) {
    this.#handle = handle
    this.#life = life
    this.#publications = new Publications(publishTimeoutMs)
  }

  /** The bytes queued; negative: nothing was. */
  send(connId: string, text: string): number {
    return this.#handOver(-1, () => native.send(this.#handle, connId, text))
  }

  sendEvent(connId: string, event: OutboundEvent, options?: SendOptions): number {
    if (options !== undefined) ensureKnown(options, 'sendEvent', ['priority'])
    return this.send(connId, asJson(event, options?.priority))
  }

  sendBytes(connId: string, bytes: Uint8Array): boolean {
    return this.#handOver(false, () => native.sendBytes(this.#handle, connId, asBytes(bytes)))
  }

  sendToUser(userId: string, event: OutboundEvent | string): number {
    return this.#handOver(0, () => native.sendToUser(this.#handle, userId, asText(event)))
  }

  broadcastAll(text: string): boolean {
    return this.#handOver(false, () => native.broadcastAll(this.#handle, text))
  }

  broadcastAllBytes(bytes: Uint8Array): boolean {
    return this.#handOver(false, () => native.broadcastAllBytes(this.#handle, asBytes(bytes)))
  }

  broadcast(topic: string, event: OutboundEvent | string): boolean {
    return this.#handOver(false, () => native.broadcast(this.#handle, topic, asText(event)))
  }

  /** See {@link Publications.publish}. Throws `WSE_OPTION_INVALID`, `WSE_OPTION_UNKNOWN`, `WSE_MESSAGE_INVALID`. */
  async publish(topic: string, event: OutboundEvent | string, options: PublishOptions): Promise<Position | null> {
    ensureKnown(options, 'publish', ['priority', 'idempotencyKey', 'deadlineMs'])
    const { idempotencyKey: key, deadlineMs, priority } = options
    if (key !== undefined && (typeof key !== 'string' || key === '' || Buffer.byteLength(key) > MAX_KEY)) {
      throw new WseError('WSE_OPTION_INVALID', `idempotencyKey: expected text of 1 to ${MAX_KEY} bytes`)
    }
    if (deadlineMs !== undefined && !(Number.isSafeInteger(deadlineMs) && deadlineMs > 0 && deadlineMs <= LONGEST_MS)) {
      throw new WseError('WSE_OPTION_INVALID', `deadlineMs: expected a whole number from 1 to ${LONGEST_MS}`)
    }
    const text = asText(event, priority)
    const ends = deadlineMs && performance.now() + deadlineMs
    return this.#publications.publish(topic, text.length, () => {
      // What waits for room uses up its own time.
      const left = ends === undefined ? null : Math.max(1, Math.ceil(ends - performance.now()))
      const placed = this.#handOver('', () => native.publish(this.#handle, topic, text, key ?? null, left))
      if (placed === 'memory' || placed === 'reader') return placed
      const [epoch = '', offset] = placed.split(' ')
      return offset === undefined ? null : { epoch, offset: Number(offset) }
    })
  }

  /** There is room for publications that wait. */
  resume(): void {
    this.#publications.resume()
  }

  /** Publications that wait are rejected. */
  close(): void {
    this.#publications.close()
  }

  /** Does `call`; a server that is gone does nothing and answers `none`. */
  #handOver<T>(none: T, call: () => T): T {
    if (this.#life.isGone) return none
    if (!this.#isFlushing) {
      this.#isFlushing = true
      queueMicrotask(this.#flush)
    }
    return translated(call)
  }

  readonly #flush = (): void => {
    this.#isFlushing = false
    if (!this.#life.isGone) translated(() => native.flush(this.#handle))
  }
}

function asText(event: OutboundEvent | string, priority?: number): string {
  if (typeof event !== 'string') return asJson(event, priority)
  if (priority === undefined) return event
  throw new WseError('WSE_OPTION_INVALID', 'priority: expected an event, text says it itself')
}

function asJson(event: OutboundEvent, priority?: number): string {
  const said = priority === undefined ? event : adding(event, { pri: importance(priority, 'priority') })
  return objectText(said, 'WSE_MESSAGE_INVALID', 'expected text, or an event: an object')
}

function asBytes(bytes: Uint8Array): Uint8Array {
  if (isUint8Array(bytes)) return bytes
  throw new WseError('WSE_MESSAGE_INVALID', 'expected bytes: a Uint8Array')
}
