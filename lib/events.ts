/**
 * What comes out of one batch: events that read the batch's string and table when they are touched.
 *
 * Never waits; {@link Drain} does.
 *
 * @module
 */
import { inspect } from 'node:util'
import { translated } from './errors.js'
import type { InboundEvent } from './inbound.js'
import { native } from './native.js'
import type { JsonObject } from './types.js'

/** A message of a type that the application handles: no event for its loops. */
export interface RequestEvent {
  readonly type: 'request'
  readonly connId: string
  /** Null: anonymous. */
  readonly userId: string | null
  readonly data: JsonObject
}

/** Everything that the engine hands over. */
export type Incoming = InboundEvent | RequestEvent

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
    readonly hasEnvelopes: boolean,
  ) {}

  isRequest(at: number): boolean {
    return ((this.rows[at] as number) & KIND) === REQUEST
  }

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
const TYPES = [
  'connect',
  'auth_connect',
  'msg',
  'raw',
  'bin',
  'disconnect',
  'request',
  'presence_join',
  'presence_leave',
] as const
const REQUEST = TYPES.indexOf('request')

/** The short names of members that clients may name at length (PROTOCOL §1). */
const SHORT = new Map([
  ['type', 't'],
  ['event_type', 't'],
  ['payload', 'p'],
  ['timestamp', 'ts'],
  ['sequence', 'seq'],
  ['correlation_id', 'cid'],
  ['priority', 'pri'],
  ['compressed', 'cmp'],
  ['encrypted', 'enc'],
  ['version', 'v'],
])
/** No long name is shorter. A look at the names that are there costs far less than asking for each long one. */
const LONG = 4

/** Adds each short member that is absent and whose long one is there. */
function normalised(message: JsonObject): JsonObject {
  for (const name in message) {
    if (name.length < LONG) continue
    const short = SHORT.get(name)
    if (short === undefined || message[short] !== undefined) continue
    // Of two long names of the type `type` counts, wherever it stands.
    message[short] = name === 'event_type' && message.type !== undefined ? message.type : message[name]
  }
  return message
}

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

  get type(): Incoming['type'] {
    return TYPES[(this.#batch.rows[this.#at] as number) & KIND] as Incoming['type']
  }

  get connId(): string {
    return this.#batch.connId(this.#at)
  }

  get text(): string | undefined {
    const { type } = this
    return type === 'msg' || type === 'raw' ? this.#text : undefined
  }

  get data(): JsonObject | undefined {
    return this.type === 'msg' ? this.#json : (this.#member('request', 'data') ?? this.#present('data'))
  }

  get bytes(): Uint8Array | undefined {
    return this.type === 'bin' ? this.#batch.view(this.#at) : undefined
  }

  get userId(): string | null | undefined {
    // Null says that a request is nobody's.
    if (this.type === 'request') return this.#member('request', 'userId')
    return this.#member('auth_connect', 'userId') ?? this.#present('userId')
  }

  get topic(): string | undefined {
    return this.#present('topic')
  }

  get revision(): number | undefined {
    return this.#present('revision')
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
    this.#parsed ??= this.#parse()
    return this.#parsed
  }

  #parse(): JsonObject {
    const parsed = JSON.parse(this.#text)
    if (this.type === 'request') return { userId: parsed[0], data: normalised(parsed[1]) }
    return this.type === 'msg' && this.#batch.hasEnvelopes ? normalised(parsed) : parsed
  }

  #present<T>(name: string): T | undefined {
    return this.#member('presence_join', name) ?? this.#member('presence_leave', name)
  }

  #member<T>(type: Incoming['type'], name: string): T | undefined {
    return this.type === type ? (this.#json[name] as T) : undefined
  }
}

/** Takes events out of one engine, batch by batch. */
export class EventSource {
  readonly #handle: number
  readonly #names: Names
  readonly #hasEnvelopes: boolean
  readonly #table = new Uint32Array(native.TABLE_LENGTH)
  /** What was taken over when the engine ended: until then nothing waits in JavaScript but one batch. */
  #kept: Batch[] = []
  #isClosed = false
  #batch: Batch | undefined
  #next = 0

  /** `hasEnvelopes`: whether messages are the protocol's; what is said in plain WebSocket is shown as it came. */
  constructor(handle: number, hasEnvelopes: boolean) {
    this.#handle = handle
    this.#names = new Names(handle)
    this.#hasEnvelopes = hasEnvelopes
  }

  /** Whether an event can be taken. */
  get hasNext(): boolean {
    if (this.#batch) return true
    this.#batch = this.#isClosed ? this.#kept.shift() : this.#drain()
    this.#next = 0
    return this.#batch !== undefined
  }

  /** Whether the next one is a request. */
  get isRequest(): boolean {
    return this.hasNext && (this.#batch as Batch).isRequest(this.#next)
  }

  /** The next event; undefined when none waits. */
  next(): Incoming | undefined {
    if (!this.hasNext) return undefined
    const event = new BatchEvent(this.#batch as Batch, this.#next) as Incoming
    this.#forward(1)
    return event
  }

  /** The next `most` events at most, up to a request; empty when none wait. */
  take(most: number): InboundEvent[] {
    if (!this.hasNext) return []
    const batch = this.#batch as Batch
    const limit = Math.min(most, (batch.rows.length - this.#next) / ROW)
    let count = 0
    while (count < limit && !batch.isRequest(this.#next + count * ROW)) count += 1
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
    return new Batch(this.#names, rows, joined, beside, this.#hasEnvelopes)
  }
}

/** Bytes of an event's content. */
export const weightOf = (event: Incoming): number => BatchEvent.weight(event as unknown as BatchEvent)
