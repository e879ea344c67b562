/**
 * Makes domain events envelopes for a while, in one of several ways, and prints what one took:
 *
 *     node benchmark/transform-events.mjs text|batch|object|plain-text|plain-object [milliseconds]
 *
 * JSON: the median `value`, `least` and `most` of the slices that the time is cut into, in microseconds of CPU of all
 * threads, garbage collection included. As long as it measures it warms up before.
 */
import { randomUUID } from 'node:crypto'
import { EventMapping, transformEvent, transformEvents } from 'wse-server'
import { median } from './measure.mjs'

const types = {
  BrokerConnectionEstablished: 'broker_connection_update',
  BrokerAccountLinked: 'broker_account_update',
  OrderPlaced: 'order_update',
  OrderFilled: 'order_update',
  PositionOpened: 'position_update',
}
const EVENTS = 256
const SLICE_MS = 20

const texts = Array.from({ length: EVENTS }, (_, n) =>
  JSON.stringify({
    event_id: randomUUID(),
    event_type: Object.keys(types)[n % 5],
    aggregate_id: `ord_${n}`,
    user_id: `user_${n % 7}`,
    timestamp: new Date(Date.now() - n).toISOString(),
    version: 1,
    correlation_id: randomUUID(),
    data: { order_id: `ord_${n}`, symbol: 'AAPL', side: 'buy', status: 'filled', quantity: 100, price: '150.25', n },
    metadata: { trace_id: randomUUID().replaceAll('-', ''), priority: 8 },
  }),
)
const objects = texts.map((text) => JSON.parse(text))
const mapping = new EventMapping(types)

/** The same in plain JavaScript, as a service would write it. */
function plain(event, seq) {
  const type = types[event.event_type]
  if (type === undefined) return null
  const { metadata = {} } = event
  const envelope = {
    t: type,
    p: { original_event_type: event.event_type, ...event.data },
    id: metadata.event_id ?? event.event_id ?? randomUUID(),
    ts: new Date().toISOString(),
    seq,
    v: 2,
    _msg_cat: type.includes('snapshot') ? 'S' : 'U',
    pri: metadata.priority ?? event.pri,
    cid: metadata.correlation_id ?? event.correlation_id,
    event_version: event.version ?? metadata.version,
    trace_id: metadata.trace_id ?? event.trace_id,
    latency_ms: Math.max(0, Date.now() - Date.parse(metadata.timestamp ?? event.timestamp)),
    original_event_type: event.event_type,
  }
  return JSON.stringify(envelope)
}

/** Each makes envelopes of all events once, and returns how many characters they have. */
const ways = {
  text: () => each(texts, (text, seq) => transformEvent(text, seq, mapping)),
  batch: () => transformEvents(texts, 1, mapping).envelopes.reduce((length, envelope) => length + envelope.length, 0),
  object: () => each(objects, (object, seq) => transformEvent(object, seq, mapping)),
  'plain-text': () => each(texts, (text, seq) => plain(JSON.parse(text), seq)),
  'plain-object': () => each(objects, plain),
}

function each(events, transform) {
  let length = 0
  for (const [index, event] of events.entries()) length += transform(event, index + 1).length
  return length
}

const [way, milliseconds = '1000'] = process.argv.slice(2)
const transformAll = ways[way]
const slices = Math.max(4, Math.round((2 * Number(milliseconds)) / SLICE_MS))
const times = []
for (let slice = 0; slice < slices; slice++) {
  const before = process.cpuUsage()
  const end = performance.now() + SLICE_MS
  let turns = 0
  let length = 0
  while (performance.now() < end) {
    length += transformAll()
    turns += 1
  }
  const { user, system } = process.cpuUsage(before)
  if (length < turns * EVENTS * 300) throw new Error('envelopes are missing')
  times.push((user + system) / (turns * EVENTS))
}
const warm = times.slice(slices / 2)
console.log(JSON.stringify({ value: median(warm), least: Math.min(...warm), most: Math.max(...warm) }))
