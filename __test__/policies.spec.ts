// What gives way where a reader does not keep up: importance, lanes, and the policies of topics.
import test, { type ExecutionContext } from 'ava'
import type { ServerOptions } from 'wse-server'
import { type Connection, connect } from './harness/connect.js'
import type { Envelope } from './harness/envelope.js'
import { type RunningServer, startServer } from './harness/server.js'

const PADDING = 'x'.repeat(100_000)
const turn = () => new Promise((resolve) => setImmediate(resolve))

/** A reader of these topics that has stopped, and whose kernel takes nothing more. */
async function stalled(t: ExecutionContext, options: ServerOptions, ...topics: string[]) {
  const server = await startServer(t, { outbound: { maxMessages: 10, slowTimeoutMs: 0 }, ...options })
  const reader = await connect(t, server)
  await server.subscribeConnection(reader.id, topics)
  reader.socket.pause()
  while (server.memory().longestOutboundMessages === 0) {
    server.sendEvent(reader.id, { t: 'filler', p: { PADDING } }, { priority: 10 })
    await turn()
  }
  return { server, reader }
}

/** Waits until the shards have seen everything that was handed over. */
async function seen(server: RunningServer) {
  await turn()
  while (server.memory().waitingCommands > 0) await turn()
}

/** Lets it read on; what it gets of this type, and its gaps. */
async function rest(reader: Connection, type: string) {
  reader.socket.resume()
  await reader.roundTrip()
  // A gap is told behind the backlog, whose end the first answer may have overtaken.
  await reader.roundTrip()
  const all = reader.waiting.map((text) => JSON.parse(text) as Envelope)
  const of = (wanted: string) => all.filter((one) => one.t === wanted).map((one) => one.p)
  return { got: of(type).map((p) => p.n), gaps: of('gap'), types: all.map((one) => one.t) }
}

test('drops what is least important, and sends what is more important first', async (t) => {
  const { server, reader } = await stalled(t, {})
  for (let n = 0; n < 20; n++) server.sendEvent(reader.id, { t: 'low', p: { n } }, { priority: 3 })
  for (let n = 0; n < 5; n++) server.sendEvent(reader.id, { t: 'high', p: { n } }, { priority: 8 })
  await seen(server)
  const { got, types, gaps } = await rest(reader, 'high')
  t.deepEqual(got, [0, 1, 2, 3, 4])
  t.true(types.lastIndexOf('high') < types.indexOf('low'))
  const lost = 20 - types.filter((type) => type === 'low').length
  t.like(gaps, [{ topic: null, count: lost, reason: 'slow' }])
})

test('sends the topics of a higher lane first', async (t) => {
  const topicPolicies: ServerOptions['topicPolicies'] = [
    { topics: ['trades'], priority: 10 },
    { topics: ['stats:*'], priority: 1 },
  ]
  const { server, reader } = await stalled(t, { topicPolicies }, 'stats:cpu', 'news', 'trades')
  for (const topic of ['stats:cpu', 'news', 'trades']) server.broadcast(topic, { t: topic, p: {} })
  await seen(server)
  const { types } = await rest(reader, 'news')
  const order = types.filter((type) => ['stats:cpu', 'news', 'trades'].includes(type))
  t.deepEqual(order, ['trades', 'news', 'stats:cpu'])
})

test('keeps the newest of a ring', async (t) => {
  const { server, reader } = await stalled(t, { topicPolicies: [{ topics: ['log'], overflow: { ring: 3 } }] }, 'log')
  for (let n = 0; n < 30; n++) server.broadcast('log', { t: 'line', p: { n } })
  await seen(server)
  const { got, gaps } = await rest(reader, 'line')
  t.deepEqual(got, [27, 28, 29])
  t.like(gaps, [{ topic: 'log', count: 27, reason: 'slow' }])
})

test('keeps the newest of each key, and calls what it replaces no gap', async (t) => {
  const topicPolicies: ServerOptions['topicPolicies'] = [{ topics: ['prices'], overflow: { latest: 'of.symbol' } }]
  const { server, reader } = await stalled(t, { topicPolicies }, 'prices')
  for (let n = 0; n < 90; n++) server.broadcast('prices', { t: 'price', p: { n, of: { symbol: 'ABC'[n % 3] } } })
  await seen(server)
  const { got, gaps } = await rest(reader, 'price')
  t.deepEqual(got, [87, 88, 89])
  t.deepEqual(gaps, [])
})

test('closes a reader that would miss something of a topic that disconnects', async (t) => {
  const topicPolicies: ServerOptions['topicPolicies'] = [{ topics: ['orders'], overflow: 'disconnect' }]
  const { server, reader } = await stalled(t, { topicPolicies }, 'orders')
  for (let n = 0; n < 20; n++) server.broadcast('orders', { t: 'order', p: { n } })
  while (server.getConnectionCount() > 0) await turn()
  reader.socket.resume()
  t.is((await reader.closed()).code, 4503)
})

test('drops what has waited for longer than it is worth something', async (t) => {
  const topicPolicies: ServerOptions['topicPolicies'] = [{ topics: ['ticks'], deadlineMs: 1 }]
  const { server, reader } = await stalled(t, { topicPolicies }, 'ticks')
  for (let n = 0; n < 5; n++) server.broadcast('ticks', { t: 'tick', p: { n } })
  await seen(server)
  const began = performance.now()
  while (performance.now() - began < 5) await turn()
  const { got, gaps } = await rest(reader, 'tick')
  t.deepEqual(got, [])
  t.like(gaps, [{ topic: 'ticks', count: 5, reason: 'expired' }])
})
