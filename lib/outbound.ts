/**
 * What an application sends and publishes, on its way to the shards.
 *
 * Calls hand bytes over and wait for nothing. What was handed over in one go leaves in one write, because the shards
 * learn of it when the calling code has finished its turn. Owns no queue: those are the engine's.
 *
 * @module
 */
import { isUint8Array } from 'node:util/types'
import { translated, WseError } from './errors.js'
import type { Life } from './life.js'
import { native } from './native.js'
import type { OutboundEvent, Position, PublishOptions, SendOptions } from './types.js'

/** The longest key of a publication, in bytes. */
const MAX_KEY = 255

export class Outbound {
  readonly #handle: number
  readonly #life: Life
  #isFlushing = false

  constructor(handle: number, life: Life) {
    this.#handle = handle
    this.#life = life
  }

  /** The bytes queued; negative: nothing was. */
  send(connId: string, text: string): number {
    return this.#handOver(-1, () => native.send(this.#handle, connId, text))
  }

  sendEvent(connId: string, event: OutboundEvent, { priority }: SendOptions): number {
    return this.send(connId, asJson(event, priority))
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

  /** Where it stands in the topic's log; null: that has none. Undefined: there was no room. */
  publish(topic: string, event: OutboundEvent | string, options: PublishOptions): Position | null | undefined {
    const key = options.idempotencyKey
    if (key !== undefined && (typeof key !== 'string' || key === '' || Buffer.byteLength(key) > MAX_KEY)) {
      throw new WseError('WSE_OPTION_INVALID', `idempotencyKey: expected text of 1 to ${MAX_KEY} bytes`)
    }
    const placed = this.#handOver(null, () => native.publish(this.#handle, topic, asText(event), key ?? null))
    if (placed === null) return undefined
    const [epoch = '', offset] = placed.split(' ')
    return offset === undefined ? null : { epoch, offset: Number(offset) }
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

const asText = (event: OutboundEvent | string): string => (typeof event === 'string' ? event : asJson(event))

function asJson(event: OutboundEvent, priority?: number): string {
  if (typeof event !== 'object' || event === null) {
    throw new WseError('WSE_MESSAGE_INVALID', 'expected text, or an event: an object')
  }
  if (priority !== undefined && !Number.isFinite(priority)) {
    throw new WseError('WSE_OPTION_INVALID', 'priority: expected 10, 8, 5, 3 or 1')
  }
  try {
    return JSON.stringify(priority === undefined ? event : { ...event, pri: priority })
  } catch (cause) {
    throw new WseError('WSE_MESSAGE_INVALID', `an event that JSON cannot say: ${String(cause)}`, { cause })
  }
}

function asBytes(bytes: Uint8Array): Uint8Array {
  if (isUint8Array(bytes)) return bytes
  throw new WseError('WSE_MESSAGE_INVALID', 'expected bytes: a Uint8Array')
}
