/**
 * Domain events as envelopes, by the addon.
 *
 * Knows what an event may be given as and counts what became of it; what an envelope has of it is Rust's to know.
 *
 * @module
 */
import { isUtf8 } from 'node:buffer'
import { isUint8Array } from 'node:util/types'
import { fromNative, translated, WseError } from './errors.js'
import { native } from './native.js'

/**
 * An event of the domain. Null counts as absent.
 *
 * What is said about the event may stand beside the payload, or in `metadata` or `_metadata`, whose word counts first.
 */
export interface DomainEvent {
  /** The type, as the domain calls it: `OrderPlaced`. `type` stands for it where it is absent. */
  event_type?: string
  /** The payload, an object; else `payload`; else the event itself, without its metadata. */
  data?: unknown
  /** Becomes the envelope's `id`. Default: a new UUIDv7. */
  event_id?: string | number | null
  /** When it happened, which `latency_ms` is counted from: RFC 3339, or a number of seconds or milliseconds since 1970. */
  timestamp?: string | number | Date | null
  /** Becomes `cid`. */
  correlation_id?: string | number | null
  /** Becomes `trace_id`. */
  trace_id?: string | number | null
  /** The version of the payload's schema, a whole number; becomes `event_version`. */
  version?: number | null
  /** The priority of the message: 10, 8, 5, 3 or 1. In metadata it may be called `priority`. */
  pri?: number | null
  // biome-ignore lint/suspicious/noExplicitAny: a domain's event is the domain's to know.
  [member: string]: any
}

/** What a mapping does with events that it does not name. */
export interface EventMappingOptions {
  /**
   * What becomes of them: `filter` keeps them back, `snake_case` lets them out under their own name (`ResourceCreated`
   * as `resource_created`). Default: `filter`.
   */
  unmapped?: 'filter' | 'snake_case'
}

/** Types of events, and the types of envelopes that they go out as. */
export type EventTypes = Readonly<Record<string, string>>

type Table = ReturnType<typeof native.eventMapping>

interface Counts {
  transformed: number
  filtered: number
  failed: number
}

/** What functions of this module see of a mapping, and nobody else does. */
let insideOf: (mapping: EventMapping) => { table: Table; counts: Counts }

/**
 * Which events go out and under which type, read once: for a stream of events.
 *
 * It counts what became of the events that it was used for.
 */
export class EventMapping {
  readonly #table: Table
  readonly #counts: Counts = { transformed: 0, filtered: 0, failed: 0 }

  static {
    insideOf = (mapping) => ({ table: mapping.#table, counts: mapping.#counts })
  }

  /** @throws `WSE_OPTION_INVALID` for a type that is no text of 1 to 255 bytes */
  constructor(types: EventTypes, { unmapped = 'filter' }: EventMappingOptions = {}) {
    if (unmapped !== 'filter' && unmapped !== 'snake_case') {
      throw new WseError('WSE_OPTION_INVALID', "option unmapped: expected 'filter' or 'snake_case'")
    }
    this.#table = translated(() => native.eventMapping(jsonOfTypes(types), unmapped === 'snake_case'))
  }

  /** Events that became envelopes. */
  get transformed(): number {
    return this.#counts.transformed
  }

  /** Events that the mapping does not name, and kept back. */
  get filtered(): number {
    return this.#counts.filtered
  }

  /** Events that were refused. */
  get failed(): number {
    return this.#counts.failed
  }
}

/** What became of a batch. */
export interface TransformedEvents {
  /** An envelope for each event, in their order; null for those that were filtered or failed. */
  readonly envelopes: (string | null)[]
  /** How many events the mapping does not name. */
  readonly filtered: number
  /** The events that were refused, by their place in the batch, with a `WSE_EVENT_INVALID` each. */
  readonly failures: { readonly index: number; readonly error: WseError }[]
  /** The number that comes after those that were given; null when nobody counts. */
  readonly nextSeq: number | null
}

/**
 * Makes an event an envelope: JSON, ready for `broadcast`. Null: the mapping does not name it.
 *
 * @param event - an object, or its JSON as text or as UTF-8, whose payload keeps its bytes
 * @param seq - its number; null where nobody counts
 * @param mapping - a table is read anew each time; for a stream of events make an {@link EventMapping}
 * @throws `WSE_EVENT_INVALID` when the event is no JSON object or has no type
 */
export function transformEvent(
  event: DomainEvent | string | Uint8Array,
  seq: number | null,
  mapping: EventMapping | EventTypes,
): string | null {
  checkSeq(seq, 'seq')
  const { table, counts } = insideOf(asMapping(mapping))
  try {
    const envelope = native.transformEvent(table, jsonOf(event), seq)
    if (envelope === null) counts.filtered += 1
    else counts.transformed += 1
    return envelope
  } catch (cause) {
    counts.failed += 1
    throw fromNative(cause)
  }
}

/**
 * Makes many events envelopes in one call, numbered from `firstSeq` on. Those that are filtered or fail take no number.
 *
 * An event that is refused is told with its place, and holds up no other.
 */
export function transformEvents(
  events: readonly (DomainEvent | string | Uint8Array)[],
  firstSeq: number | null,
  mapping: EventMapping | EventTypes,
): TransformedEvents {
  checkSeq(firstSeq, 'firstSeq')
  if (!Array.isArray(events)) throw new WseError('WSE_OPTION_INVALID', 'events: expected a list')
  const { table, counts } = insideOf(asMapping(mapping))
  const refused = new Map<number, WseError>()
  const texts = events.map((event, index) => {
    try {
      const json = jsonOf(event)
      // It stands between the events of the batch; in JSON it is a fault wherever it stands.
      if (!json.includes(NUL)) return json
      throw new WseError('WSE_EVENT_INVALID', 'event contains a NUL')
    } catch (cause) {
      refused.set(index, fromNative(cause))
      return ''
    }
  })
  const results =
    texts.length === 0 ? [] : translated(() => native.transformEvents(table, texts.join(NUL), firstSeq)).split(NUL)

  const failures: TransformedEvents['failures'] = []
  let filtered = 0
  const envelopes = results.map((result, index) => {
    if (result === '') filtered += 1
    else if (!result.startsWith(FAULT)) return result
    else failures.push({ index, error: refused.get(index) ?? new WseError('WSE_EVENT_INVALID', result.slice(1)) })
    return null
  })
  const transformed = envelopes.length - filtered - failures.length
  counts.transformed += transformed
  counts.filtered += filtered
  counts.failed += failures.length
  return { envelopes, filtered, failures, nextSeq: firstSeq === null ? null : firstSeq + transformed }
}

// How a batch crosses is written in the addon's `transform.rs`.
const NUL = '\0'
const FAULT = '!'

/** The mappings of plain tables, by what these say: a program has few, but may write one out in every call. */
const plain = new Map<string, EventMapping>()
const MAX_PLAIN = 16

function asMapping(mapping: EventMapping | EventTypes): EventMapping {
  if (mapping instanceof EventMapping) return mapping
  const json = jsonOfTypes(mapping)
  const known = plain.get(json)
  if (known) return known
  const made = new EventMapping(mapping)
  if (plain.size === MAX_PLAIN) plain.clear()
  plain.set(json, made)
  return made
}

function jsonOfTypes(types: EventTypes): string {
  if (typeof types !== 'object' || types === null) {
    throw new WseError('WSE_OPTION_INVALID', 'mapping: expected an object, types of events by those of envelopes')
  }
  for (const [event, type] of Object.entries(types)) {
    if (typeof type === 'string' && type !== '' && Buffer.byteLength(type) <= 255) continue
    throw new WseError('WSE_OPTION_INVALID', `mapping.${event}: expected a text of 1 to 255 bytes`)
  }
  return JSON.stringify(types)
}

function checkSeq(seq: number | null, name: string): void {
  if (seq === null || (Number.isSafeInteger(seq) && seq >= 0)) return
  throw new WseError('WSE_OPTION_INVALID', `${name}: expected a whole number from 0, or null`)
}

function jsonOf(event: DomainEvent | string | Uint8Array): string {
  if (typeof event === 'string') return event
  if (isUint8Array(event)) {
    if (!isUtf8(event)) throw new WseError('WSE_EVENT_INVALID', 'event is not UTF-8')
    return Buffer.from(event.buffer, event.byteOffset, event.byteLength).toString('utf8')
  }
  if (typeof event !== 'object' || event === null) {
    throw new WseError('WSE_EVENT_INVALID', 'expected an event: an object, text or bytes')
  }
  return stringified(event)
}

function stringified(event: DomainEvent): string {
  try {
    // An object that calls itself nothing is none, and refused as such.
    return JSON.stringify(event) ?? ''
  } catch {
    // Asked only now, because a replacer makes every event dear and few have a bigint.
    try {
      return JSON.stringify(event, (_, value) => (typeof value === 'bigint' ? String(value) : value))
    } catch (cause) {
      throw new WseError('WSE_EVENT_INVALID', `an event that JSON cannot say: ${String(cause)}`, { cause })
    }
  }
}
