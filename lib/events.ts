/**
 * What comes out of one batch: events that read the batch's string and table when they are touched.
 *
 * Never waits; {@link Drain} does.
 *
 * @module
 */
import { inspect } from 'node:util'
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
      this.#ids[slot] = native.connectionId(this.handle, place, generation, high, low)
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

  view(at: number): Uint8Array {
    return this.bytes?.subarray(this.rows[at + BEGIN], this.rows[at + END]) ?? new Uint8Array()
  }
}

abstract class EventOfBatch {
  protected readonly batch: Batch
  protected readonly at: number

  constructor(batch: Batch, at: number) {
    this.batch = batch
    this.at = at
  }

  abstract get type(): string

  get connId(): string {
    return this.batch.connId(this.at)
  }

  /** The event as a plain object: what logs and `JSON.stringify` show. */
  toJSON(): JsonObject {
    return { type: this.type, connId: this.connId }
  }

  [inspect.custom](): JsonObject {
    return this.toJSON()
  }
}

/** An event whose text is JSON, parsed when first touched. */
abstract class EventWithJson extends EventOfBatch {
  #json: JsonObject | undefined

  protected get json(): JsonObject {
    this.#json ??= JSON.parse(this.batch.text(this.at)) as JsonObject
    return this.#json
  }
}

class Connect extends EventWithJson {
  get type(): 'connect' {
    return 'connect'
  }

  get cookies(): string {
    return this.json['cookies'] as string
  }

  get headers(): Record<string, string> {
    return this.json['headers'] as Record<string, string>
  }

  get url(): string {
    return this.json['url'] as string
  }

  get remoteAddress(): string {
    return this.json['remoteAddress'] as string
  }

  override toJSON(): JsonObject {
    return { ...super.toJSON(), ...this.json }
  }
}

class AuthConnect extends EventWithJson {
  get type(): 'auth_connect' {
    return 'auth_connect'
  }

  get userId(): string {
    return this.json['userId'] as string
  }

  get claims(): JsonObject {
    return this.json['claims'] as JsonObject
  }

  override toJSON(): JsonObject {
    return { ...super.toJSON(), ...this.json }
  }
}

class Message extends EventWithJson {
  get type(): 'msg' {
    return 'msg'
  }

  get data(): JsonObject {
    return this.json
  }

  get text(): string {
    return this.batch.text(this.at)
  }

  override toJSON(): JsonObject {
    return { ...super.toJSON(), data: this.data }
  }
}

class Raw extends EventOfBatch {
  get type(): 'raw' {
    return 'raw'
  }

  get text(): string {
    return this.batch.text(this.at)
  }

  override toJSON(): JsonObject {
    return { ...super.toJSON(), text: this.text }
  }
}

class Binary extends EventOfBatch {
  get type(): 'bin' {
    return 'bin'
  }

  get bytes(): Uint8Array {
    return this.batch.view(this.at)
  }

  override toJSON(): JsonObject {
    return { ...super.toJSON(), bytes: Buffer.from(this.bytes).toString('base64') }
  }
}

class Disconnect extends EventOfBatch {
  get type(): 'disconnect' {
    return 'disconnect'
  }

  get code(): number {
    return Number.parseInt(this.batch.text(this.at), 10)
  }

  get reason(): string {
    const text = this.batch.text(this.at)
    return text.slice(text.indexOf(' ') + 1)
  }

  override toJSON(): JsonObject {
    return { ...super.toJSON(), code: this.code, reason: this.reason }
  }
}

/** By the kinds of the addon's `inbound.rs`. */
const KINDS = [Connect, AuthConnect, Message, Raw, Binary, Disconnect] as const

/** Takes events out of one engine, batch by batch. */
export class EventSource {
  readonly #handle: number
  readonly #names: Names
  readonly #table = new Uint32Array(native.TABLE_LENGTH)
  #batch: Batch | undefined
  #next = 0
  #end = 0

  constructor(handle: number) {
    this.#handle = handle
    this.#names = new Names(handle)
  }

  /** The next `most` events at most; empty when none wait. */
  take(most: number): InboundEvent[] {
    if (this.#next === this.#end && !this.#drain()) return []
    const batch = this.#batch as Batch
    const count = Math.min(most, (this.#end - this.#next) / ROW)
    const events = new Array<InboundEvent>(count)
    let at = this.#next
    for (let n = 0; n < count; n++, at += ROW) {
      const Kind = KINDS[(batch.rows[at] as number) & 0xff] as (typeof KINDS)[number]
      events[n] = new Kind(batch, at) as InboundEvent
    }
    this.#next = at
    // The last events keep the batch alive; nothing else does.
    if (at === this.#end) this.#batch = undefined
    return events
  }

  /** Events of the current batch that have not been taken. */
  get left(): number {
    return (this.#end - this.#next) / ROW
  }

  #drain(): boolean {
    const joined = native.drain(this.#handle, this.#table)
    if (joined === null) return false
    const [events, bytes] = this.#table as unknown as [number, number]
    this.#next = 0
    this.#end = events * ROW
    const rows = new Int32Array(this.#table.slice(HEAD, HEAD + this.#end).buffer)
    const beside = bytes > 0 ? native.drainedBytes(this.#handle) : undefined
    this.#batch = new Batch(this.#names, rows, joined, beside)
    return true
  }
}
