// Domain events become envelopes: the vectors through the addon, and what only the facade knows.
import { readFileSync } from 'node:fs'
import test from 'ava'
import { EventMapping, transformEvent, transformEvents, type WseError } from 'wse-server'
import { connect } from './harness/connect.js'
import { Application, startServer } from './harness/server.js'

interface Case {
  name: string
  event: string
  seq?: number | null
  unmapped?: 'snake_case'
  envelope?: string
  filtered?: true
  error?: string
}

const vectors = JSON.parse(readFileSync(new URL('../spec/vectors/transform.json', import.meta.url), 'utf8')) as {
  id: string
  at_ms: number
  seq: number
  mapping: Record<string, string>
  events: Case[]
}
const mappings = {
  filter: new EventMapping(vectors.mapping),
  snake_case: new EventMapping(vectors.mapping, { unmapped: 'snake_case' }),
}
const mappingOf = ({ unmapped }: Case) => mappings[unmapped ?? 'filter']
const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

/** An envelope as it had been at the time of the vectors: here the clock and the ids are real. */
function asOfThen(envelope: string, expected: string, before: number): string {
  const { id, ts, latency_ms: latency } = JSON.parse(envelope)
  // An envelope that was one before keeps its time.
  if (ts === JSON.parse(expected).ts) return envelope
  const sentAt = Date.parse(ts)
  const late = sentAt - vectors.at_ms
  return envelope
    .replace(`"id":"${id}","ts"`, (said) => (UUID_V7.test(id) ? `"id":"${vectors.id}","ts"` : said))
    .replace(`"${ts}"`, sentAt >= before ? `"${new Date(vectors.at_ms).toISOString()}"` : 'too old')
    .replace(`"latency_ms":${latency}`, (said) => (latency > late ? `"latency_ms":${latency - late}` : said))
}

/** Those whose latency was none at that time have one by now. */
const isTimeless = ({ envelope = '' }: Case) => !envelope.includes('"latency_ms":0')

test('agrees with the vectors, event by event', (t) => {
  for (const each of vectors.events) {
    const before = Date.now()
    const { name, event, seq = vectors.seq, envelope, error } = each
    const transformed = () => transformEvent(event, seq, mappingOf(each))
    if (error !== undefined) {
      const thrown = t.throws(transformed, { name: 'WseError', code: 'WSE_EVENT_INVALID' }, name)
      t.true(thrown?.message.includes(error), `${name}: ${thrown?.message}`)
    } else if (envelope === undefined) t.is(transformed(), null, name)
    else if (isTimeless(each)) t.is(asOfThen(transformed() as string, envelope, before), envelope, name)
    else t.regex(transformed() as string, /"latency_ms":\d+/, name)
  }
})

test('agrees with the vectors in batches, where those that stay behind take no number', (t) => {
  const counted = vectors.events.filter(({ seq, unmapped }) => seq === undefined && unmapped === undefined)
  const before = Date.now()
  const mapping = new EventMapping(vectors.mapping)
  const events = counted.map(({ event }) => event)
  const { envelopes, filtered, failures, nextSeq } = transformEvents(events, vectors.seq, mapping)
  let seq = vectors.seq
  for (const [index, each] of counted.entries()) {
    const { name, envelope, error } = each
    const failure = failures.find((failure) => failure.index === index)
    t.is(failure?.error.code, error === undefined ? undefined : 'WSE_EVENT_INVALID', name)
    t.true(failure?.error.message.includes(error ?? '') ?? true, name)
    if (envelope === undefined) t.is(envelopes[index], null, name)
    else {
      const numbered = envelope.replace(`"seq":${vectors.seq}`, `"seq":${seq}`)
      if (isTimeless(each)) t.is(asOfThen(envelopes[index] as string, numbered, before), numbered, name)
      seq += 1
    }
  }
  t.is(nextSeq, seq)
  t.is(filtered, counted.filter((each) => each.filtered).length)
  t.is(failures.length, counted.filter(({ error }) => error).length)
  t.deepEqual([mapping.transformed, mapping.filtered, mapping.failed], [seq - vectors.seq, filtered, failures.length])
})

test('takes events as objects, as text and as bytes', (t) => {
  const event = { event_type: 'OrderPlaced', event_id: 'é1', data: { note: 'grün 🎉' } }
  const mapping = new EventMapping(vectors.mapping)
  const text = JSON.stringify(event)
  const bytes = new TextEncoder().encode(`..${text}`).subarray(2)
  for (const each of [event, text, bytes, Buffer.from(text)]) {
    const expected = { t: 'order_update', id: 'é1', seq: 1, p: { original_event_type: 'OrderPlaced', ...event.data } }
    t.like(JSON.parse(transformEvent(each, 1, mapping) as string), expected)
    t.like(JSON.parse(transformEvents([each], 1, mapping).envelopes[0] as string), expected)
  }
  t.is(mapping.transformed, 8)
})

test('keeps decimals, dates, identifiers and numbers over 53 bits', (t) => {
  const amount = { toJSON: () => '0.10' }
  const at = new Date(0)
  const event = { event_type: 'OrderPlaced', timestamp: at, data: { amount, at, shares: 2n ** 64n } }
  const envelope = JSON.parse(transformEvent(event, null, vectors.mapping) as string)
  t.deepEqual(envelope.p, {
    original_event_type: 'OrderPlaced',
    amount: '0.10',
    at: '1970-01-01T00:00:00.000Z',
    shares: '18446744073709551616',
  })
  t.true(Math.abs(Date.parse(envelope.ts) - envelope.latency_ms) < 1)
  t.false('seq' in envelope)
})

test('counts what became of the events', (t) => {
  const mapping = new EventMapping({ OrderPlaced: 'order_update' })
  transformEvent({ event_type: 'OrderPlaced' }, null, mapping)
  t.is(transformEvent({ event_type: 'CacheWarmed' }, null, mapping), null)
  t.throws(() => transformEvent({}, null, mapping), { code: 'WSE_EVENT_INVALID' })
  transformEvents([{ event_type: 'CacheWarmed' }, '', { event_type: 'OrderPlaced' }], null, mapping)
  t.deepEqual([mapping.transformed, mapping.filtered, mapping.failed], [2, 2, 2])
})

test('reads a plain table as it is in each call', (t) => {
  const types: Record<string, string> = {}
  for (let n = 0; n < 40; n++) {
    const event = { event_type: `Event${n}` }
    t.is(transformEvent(event, null, types), null)
    types[event.event_type] = `event_${n}`
    t.is(JSON.parse(transformEvent(event, null, types) as string).t, `event_${n}`)
  }
})

test('refuses what is no event, alone and in a batch, and nothing beside it', (t) => {
  const circle: Record<string, unknown> = { event_type: 'OrderPlaced' }
  circle.data = { circle }
  const good = '{"event_type":"OrderPlaced"}'
  const bad: unknown[] = [
    circle,
    undefined,
    null,
    7,
    [],
    '',
    'hello',
    Buffer.from([0xff]),
    `${good}\0`,
    `{"event_type":"Order\0Placed"}`,
    { toJSON: () => undefined },
    `{"event_type":"OrderPlaced","data":${'['.repeat(100_000)}`,
  ]
  for (const each of bad as string[]) {
    t.throws(() => transformEvent(each, 1, vectors.mapping), { code: 'WSE_EVENT_INVALID' }, String(each))
    const { envelopes, failures, nextSeq } = transformEvents([good, each, good], 1, vectors.mapping)
    t.deepEqual(
      envelopes.map((envelope) => envelope && JSON.parse(envelope).seq),
      [1, null, 2],
    )
    t.deepEqual(
      failures.map(({ index, error }) => [index, error.code]),
      [[1, 'WSE_EVENT_INVALID']],
    )
    t.is(nextSeq, 3)
  }
  t.deepEqual(transformEvents([], null, {}), { envelopes: [], filtered: 0, failures: [], nextSeq: null })
})

test('refuses a mapping, a number or an option that cannot be, and names it', (t) => {
  const refused = (call: () => unknown, message: RegExp) => t.throws(call, { code: 'WSE_OPTION_INVALID', message })
  refused(() => new EventMapping({ OrderPlaced: '' }), /mapping\.OrderPlaced/)
  refused(() => new EventMapping({ OrderPlaced: 'é'.repeat(128) }), /mapping\.OrderPlaced/)
  refused(() => new EventMapping({ OrderPlaced: 7 } as never), /mapping\.OrderPlaced/)
  refused(() => new EventMapping(null as never), /mapping/)
  refused(() => new EventMapping({}, { unmapped: 'drop' } as never), /unmapped/)
  for (const seq of [-1, 1.5, Number.NaN, 2 ** 53, '1', undefined]) {
    refused(() => transformEvent({}, seq as never, {}), /^seq/)
    refused(() => transformEvents([], seq as never, {}), /^firstSeq/)
  }
  refused(() => transformEvents('[]' as never, 1, {}), /events/)
})

test('makes envelopes that reach a client as they are', async (t) => {
  const server = await startServer(t)
  const application = new Application(server)
  const connection = await connect(t, server)
  const { connId } = await application.next('connect')
  await server.subscribeConnection(connId, ['orders'])
  const event = { event_type: 'OrderPlaced', event_id: 'e1', data: { price: '101.50' } }
  const envelope = transformEvent(event, 1, { OrderPlaced: 'order_update' }) as string
  server.broadcast('orders', envelope)
  t.deepEqual(JSON.parse(await connection.nextText()), JSON.parse(envelope))
})

test('has errors that are of the class of all others', (t) => {
  const { failures } = transformEvents(['x'], 1, {})
  const error = failures[0]?.error as WseError
  t.is(error.name, 'WseError')
  t.is(error.message, 'text is not a JSON object')
})
