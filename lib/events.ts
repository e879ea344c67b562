/**
 * What comes out of one batch: events that read the batch's string and table when they are touched.
 *
 * Never waits; {@link Drain} does.
 *
 * @module
 */
import { inspect } from 'node:util'
import { translated } from './errors.js'
import { native } from './native.js'
import type { InboundEvent, JsonObject } from './types.js'

// The table's layout is written in the addon's `drain.rs`.
const HEAD = 2
const ROW = 7
const PLACE = 1
const GENERATION = 2
const HIGH = 3
const LOW = 4
const BEGIN = 5
const END = 6
const KIND = 0xff
const IN_TEXT = 1 << 8

/** Names of the connections that were named last: a bounded cache, because most events come from few. */
class Names {
  static readonly #SIZE = 512
  readonly #keys = new Int32Array(2 * Names.#SIZE)
  readonly #ids: string[] = new Array<string>(Names.#SIZE).fill('')

  constructor(readonly handle: number) {}

  id(place: number, generation: number, high: number, low: number): string {
    const slot = place & (Names.#SIZE - 1)
    if (this.#keys[2 * slot] !== place || this.#keys[2 * slot + 1] !== generation) {
      this.#ids[slot] = translated(() => native.connectionId(this.handle, place, generation, high, low))
      this.#keys[2 * slot] = place
      this.#keys[2 * slot + 1] = generation
    }
    return this.#ids[slot] as string
  }
}

/** A batch in JavaScript's memory. */
class Batch {
  constructor(
    readonly names: Names,
    readonly rows: Int32Array,
    readonly joined: string,
    readonly bytes: Buffer | undefined,
  ) {}

  connId(at: number): string {
    const { rows } = this
    return this.names.id(
      rows[at + PLACE] as number,
      rows[at + GENERATION] as number,
      rows[at + HIGH] as number,
      rows[at + LOW] as number,
    )
  }

  text(at: number): string {
    const begin = this.rows[at + BEGIN] as number
    const end = this.rows[at + END] as number
    if ((this.rows[at] as number) & IN_TEXT) return this.joined.slice(begin, end)
    return this.bytes?.toString('utf8', begin, end) ?? ''
  }

  weight(at: number): number {
    return (this.rows[at + END] as number) - (this.rows[at + BEGIN] as number)
  }

  view(at: number): Buffer {
    return this.bytes?.subarray(this.rows[at + BEGIN], this.rows[at + END]) ?? Buffer.alloc(0)
  }
}

/** By the kinds of the addon's `inbound.rs`. */
const TYPES = ['connect', 'auth_connect', 'msg', 'raw', 'bin', 'disconnect'] as const

/**
 * An event of any type: one class for all, so that the loops of an application see one shape.
 *
 * What a type does not have reads as undefined; the union {@link InboundEvent} says what it has.
 */
class BatchEvent {
  readonly #batch: Batch
  readonly #at: number
  #parsed: JsonObject | undefined = undefined

  constructor(batch: Batch, at: number) {
    this.#batch = batch
    this.#at = at
  }

  static weight(event: BatchEvent): number {
    return event.#batch.weight(event.#at)
  }

  get type(): InboundEvent['type'] {
    return TYPES[(this.#batch.rows[this.#at] as number) & KIND] as InboundEvent['type']
  }

  get connId(): string {
    return this.#batch.connId(this.#at)
  }

  get text(): string | undefined {
    const { type } = this
    return type === 'msg' || type === 'raw' ? this.#text : undefined
  }

  get data(): JsonObject | undefined {
    return this.type === 'msg' ? this.#json : undefined
  }

  get bytes(): Uint8Array | undefined {
    return this.type === 'bin' ? this.#batch.view(this.#at) : undefined
  }

  get userId(): string | undefined {
    return this.#member('auth_connect', 'userId')
  }

  get claims(): JsonObject | undefined {
    return this.#member('auth_connect', 'claims')
  }

  get cookies(): string | undefined {
    return this.#member('connect', 'cookies')
  }

  get headers(): Record<string, string> | undefined {
    return this.#member('connect', 'headers')
  }

  get url(): string | undefined {
    return this.#member('connect', 'url')
  }

  get remoteAddress(): string | undefined {
    return this.#member('connect', 'remoteAddress')
  }

  get code(): number | undefined {
    return this.type === 'disconnect' ? Number.parseInt(this.#text, 10) : undefined
  }

  get reason(): string | undefined {
    return this.type === 'disconnect' ? this.#text.slice(this.#text.indexOf(' ') + 1) : undefined
  }

  /** The event as a plain object: what logs and `JSON.stringify` show. */
  toJSON(): JsonObject {
    const { type, connId } = this
    switch (type) {
      case 'msg':
        return { type, connId, data: this.data }
      case 'raw':
        return { type, connId, text: this.text }
      case 'bin':
        return { type, connId, bytes: this.#batch.view(this.#at).toString('base64') }
      case 'disconnect':
        return { type, connId, code: this.code, reason: this.reason }
      default:
        return { type, connId, ...this.#json }
    }
  }

  [inspect.custom](): JsonObject {
    return this.toJSON()
  }

  get #text(): string {
    return this.#batch.text(this.#at)
  }

  get #json(): JsonObject {
    this.#parsed ??= JSON.parse(this.#text) as JsonObject
    return this.#parsed
  }

  #member<T>(type: InboundEvent['type'], name: string): T | undefined {
    return this.type === type ? (this.#json[name] as T) : undefined
  }
}

/** Takes events out of one engine, batch by batch. */
export class EventSource {
  readonly #handle: number
  readonly #names: Names
  readonly #table = new Uint32Array(native.TABLE_LENGTH)
  /** What was taken over when the engine ended: until then nothing waits in JavaScript but one batch. */
  #kept: Batch[] = []
  #isClosed = false
  #batch: Batch | undefined
  #next = 0

  constructor(handle: number) {
    this.#handle = handle
    this.#names = new Names(handle)
  }

  /** Whether an event can be taken. */
  get hasNext(): boolean {
    if (this.#batch) return true
    this.#batch = this.#isClosed ? this.#kept.shift() : this.#drain()
    this.#next = 0
    return this.#batch !== undefined
  }

  /** The next event; undefined when none waits. */
  next(): InboundEvent | undefined {
    if (!this.hasNext) return undefined
    const event = new BatchEvent(this.#batch as Batch, this.#next) as InboundEvent
    this.#forward(1)
    return event
  }

  /** The next `most` events at most; empty when none wait. */
  take(most: number): InboundEvent[] {
    if (!this.hasNext) return []
    const batch = this.#batch as Batch
    const count = Math.min(most, (batch.rows.length - this.#next) / ROW)
    const events = new Array<InboundEvent>(count)
    for (let n = 0; n < count; n++) events[n] = new BatchEvent(batch, this.#next + n * ROW) as InboundEvent
    this.#forward(count)
    return events
  }

  #forward(events: number): void {
    this.#next += events * ROW
    // The last events keep the batch alive; nothing else does.
    if (this.#next === this.#batch?.rows.length) this.#batch = undefined
  }

  /** Events that are in JavaScript's memory and have not been taken. */
  get left(): number {
    const current = this.#batch ? this.#batch.rows.length - this.#next : 0
    return this.#kept.reduce((words, { rows }) => words + rows.length, current) / ROW
  }

  /** Takes over everything that waits, before the engine is released. */
  close(): void {
    for (let batch = this.#drain(); batch; batch = this.#drain()) this.#kept.push(batch)
    this.#isClosed = true
  }

  #drain(): Batch | undefined {
    const joined = translated(() => native.drain(this.#handle, this.#table))
    if (joined === null) return undefined
    const [events, bytes] = this.#table as unknown as [number, number]
    const rows = new Int32Array(this.#table.slice(HEAD, HEAD + events * ROW).buffer)
    const beside = bytes > 0 ? translated(() => native.drainedBytes(this.#handle)) : undefined
    return new Batch(this.#names, rows, joined, beside)
  }
}

/** Bytes of an event's content. */
export const weightOf = (event: InboundEvent): number => BatchEvent.weight(event as unknown as BatchEvent)
