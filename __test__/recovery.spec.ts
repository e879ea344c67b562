// What the application asks of the logs: a connection begins behind a position, and a publication has one place.
import test, { type ExecutionContext } from 'ava'
import type { JsonObject, Position, ServerOptions } from 'wse-server'
import { until, within } from './harness/arrivals.js'
import { type Connection, connect } from './harness/connect.js'
import { startServer } from './harness/server.js'

/** A server with logs, and what publishes to it the numbers from one up to another; resolves to their positions. */
async function start(t: ExecutionContext, options: ServerOptions = {}) {
  const server = await startServer(t, { recovery: true, topics: { deny: ['secret'] }, ...options })
  const publish = async (topic: string, from: number, to: number, more: JsonObject = {}) => {
    const positions: Position[] = []
    for (let n = from; n <= to; n++) {
      positions.push((await server.publish(topic, { t: 'n', p: { n, ...more } })) as Position)
    }
    return positions
  }
  return { server, publish }
}

/** The numbers of a topic that have come, each beside its offset. */
async function numbers(connection: Connection, topic: string): Promise<[n: number, offset: number][]> {
  await connection.roundTrip()
  const stamped = connection.waiting.map((text) => JSON.parse(text) as JsonObject).filter(({ tp }) => tp === topic)
  return stamped.map(({ o, p }) => [p.n, o])
}

/** Numbers that are their own offsets. */
const counted = (from: number, to: number) => Array.from({ length: to + 1 - from }, (_, n) => [from + n, from + n])

test('begins several topics behind their positions: everything that followed, in order, once, and what comes', async (t) => {
  const { server, publish } = await start(t)
  const [, , news] = (await publish('news', 1, 5)) as [Position, Position, Position]
  const [weather] = (await publish('weather', 1, 3)) as [Position]
  const sport = (await publish('sport', 1, 2)).at(-1) as Position
  const connection = await connect(t, server)
  const asked = server.subscribeWithRecovery(connection.id, { news, weather: { ...weather, offset: 0 }, sport })
  // Published between the request and its answer, and no more than the log keeps.
  for (let n = 6; n <= 200; n++) server.broadcast('news', { t: 'n', p: { n } })
  const { success, successTopics, failedTopics, recovery } = await within(asked, 'the answer')
  t.deepEqual([success, successTopics, failedTopics], [true, ['news', 'weather', 'sport'], []])
  t.deepEqual(recovery.weather, { epoch: weather.epoch, offset: 3, recovered: true, count: 3 })
  t.deepEqual(recovery.sport, { epoch: sport.epoch, offset: 2, recovered: true, count: 0 })
  t.like(recovery.news, { epoch: news.epoch, recovered: true })
  t.is(recovery.news?.offset, 3 + (recovery.news?.count ?? Number.NaN))
  await publish('news', 201, 203)
  await publish('weather', 4, 4)
  t.deepEqual(await numbers(connection, 'news'), counted(4, 203))
  t.deepEqual(await numbers(connection, 'weather'), counted(1, 4))
  t.deepEqual(await numbers(connection, 'sport'), [])
})

test('resolves when everything behind the position is sent, and not before', async (t) => {
  const { server, publish } = await start(t, { outbound: { slowTimeoutMs: 0 } })
  const [first] = (await publish('news', 1, 200, { padding: 'x'.repeat(100_000) })) as [Position]
  const connection = await connect(t, server)
  connection.socket.pause()
  let isSettled = false
  const asked = server.subscribeWithRecovery(connection.id, { news: first }).finally(() => {
    isSettled = true
  })
  await until('a full socket', () => server.memory().longestOutboundMessages > 0)
  await (await connect(t, server)).roundTrip()
  t.false(isSettled)
  connection.socket.resume()
  t.like((await within(asked, 'the answer')).recovery.news, { offset: 200, recovered: true, count: 199 })
  t.deepEqual(await numbers(connection, 'news'), counted(2, 200))
})

for (const [title, of] of [
  ['is older than the log', ({ epoch }) => ({ epoch, offset: 2 })],
  ['is of another epoch', ({ epoch }) => ({ epoch: epoch === '00000001' ? '00000002' : '00000001', offset: 9 })],
  ['is in the future', ({ epoch }) => ({ epoch, offset: 11 })],
] as [string, (head: Position) => Position][]) {
  test(`begins with what comes where the position ${title}`, async (t) => {
    const { server, publish } = await start(t, { recovery: { slots: 4 } })
    const head = (await publish('news', 1, 10)).at(-1) as Position
    const connection = await connect(t, server)
    const asked = server.subscribeWithRecovery(connection.id, { news: of(head) })
    const { success, recovery } = await within(asked, 'the answer')
    t.true(success)
    t.deepEqual(recovery, { news: { ...head, recovered: false, count: 0 } })
    await publish('news', 11, 12)
    t.deepEqual(await numbers(connection, 'news'), counted(11, 12))
  })
}

test('says of each topic by itself what became of its position', async (t) => {
  const { server, publish } = await start(t, { recovery: { topics: ['news', 'old'], slots: 4 } })
  const [first] = (await publish('news', 1, 3)) as [Position]
  const [old] = (await publish('old', 1, 9)) as [Position]
  const connection = await connect(t, server)
  const positions = { news: first, old, unlogged: first, secret: first }
  const asked = server.subscribeWithRecovery(connection.id, positions)
  const { successTopics, failedTopics, recovery } = await within(asked, 'the answer')
  t.deepEqual([successTopics, failedTopics], [['news', 'old', 'unlogged'], ['secret']])
  t.deepEqual(recovery, {
    news: { epoch: first.epoch, offset: 3, recovered: true, count: 2 },
    old: { epoch: old.epoch, offset: 9, recovered: false, count: 0 },
    unlogged: { epoch: null, offset: null, recovered: false, count: 0 },
  })
  server.broadcast('unlogged', { t: 'plain' })
  await connection.next('plain')
})

test('gives a connection that is gone nothing, also one that goes meanwhile', async (t) => {
  const { server, publish } = await start(t, { outbound: { slowTimeoutMs: 0 } })
  const [first] = (await publish('news', 1, 200, { padding: 'x'.repeat(100_000) })) as [Position]
  const nothing = { success: false, successTopics: [], failedTopics: ['news'], recovery: {} }
  const connection = await connect(t, server)
  connection.socket.pause()
  const asked = server.subscribeWithRecovery(connection.id, { news: first })
  await until('a full socket', () => server.memory().longestOutboundMessages > 0)
  connection.socket.terminate()
  t.deepEqual(await within(asked, 'the answer'), nothing)
  await until('its end', () => server.getConnectionCount() === 0)
  t.deepEqual(await within(server.subscribeWithRecovery(connection.id, { news: first }), 'an answer'), nothing)
  t.is(server.getTopicSubscriberCount('news'), 0)
})

test('refuses what is no position', async (t) => {
  const { server } = await start(t)
  const connection = await connect(t, server)
  for (const bad of [null, {}, { epoch: 'ab', offset: 1 }, { epoch: '0000ABCD', offset: 1 }]) {
    const asked = server.subscribeWithRecovery(connection.id, { news: bad as never })
    await t.throwsAsync(asked, { code: 'WSE_OPTION_INVALID', message: /positions.*news/ })
  }
  for (const offset of [-1, 0.5, '1', 2 ** 53]) {
    const asked = server.subscribeWithRecovery(connection.id, { news: { epoch: '0000abcd', offset: offset as never } })
    await t.throwsAsync(asked, { code: 'WSE_OPTION_INVALID', message: /positions.*news/ })
  }
  t.is(server.getTopicSubscriberCount('news'), 0)
})

test('publishes once what is published again with its key, and gives it the position of the first', async (t) => {
  const { server, publish } = await start(t, { recovery: { slots: 4 } })
  const connection = await connect(t, server)
  await server.subscribeConnection(connection.id, ['news', 'weather'])
  const publishAs = (topic: string, n: number, idempotencyKey: string) =>
    server.publish(topic, { t: 'n', p: { n } }, { idempotencyKey })
  const longest = 'ä'.repeat(127)
  const first = await publishAs('news', 1, 'a')
  t.deepEqual(await publishAs('news', 1, 'a'), first)
  t.deepEqual(await publishAs('news', 99, 'a'), first, 'the key counts, whatever is published with it')
  t.deepEqual(await publishAs('news', 2, longest), { epoch: first?.epoch as string, offset: 2 }, 'another key')
  t.like(await publishAs('weather', 1, 'a'), { offset: 1 }, 'another topic')
  // Longer than the log keeps what was published.
  await publish('news', 3, 10)
  t.deepEqual(await publishAs('news', 1, 'a'), first)
  t.like(await publishAs('news', 2, longest), { offset: 2 })
  t.deepEqual(await numbers(connection, 'news'), counted(1, 10))
  t.deepEqual(await numbers(connection, 'weather'), [[1, 1]])
})

test('has forgotten the keys of a log that was lost', async (t) => {
  const { server, publish } = await start(t, { recovery: { budgetBytes: 100_000 } })
  const connection = await connect(t, server)
  await server.subscribeConnection(connection.id, ['news'])
  const again = () => server.publish('news', { t: 'n', p: { n: 1 } }, { idempotencyKey: 'a' })
  const first = await again()
  t.deepEqual(await again(), first)
  for (let n = 0; n < 20; n++) await publish(`other:${n}`, 1, 1, { padding: 'x'.repeat(10_000) })
  const second = await again()
  t.not(second?.epoch, first?.epoch)
  t.is(second?.offset, 1)
  t.deepEqual(await again(), second)
  t.deepEqual(await numbers(connection, 'news'), [
    [1, 1],
    [1, 1],
  ])
})

for (const [title, options] of [
  ['there are no logs', { recovery: false }],
  ['its topic has none', { recovery: { topics: ['news'] } }],
] as [string, ServerOptions][]) {
  test(`refuses a key where ${title}, and names the option`, async (t) => {
    const { server } = await start(t, options)
    const connection = await connect(t, server)
    await server.subscribeConnection(connection.id, ['other'])
    const publishing = server.publish('other', { t: 'n', p: { n: 1 } }, { idempotencyKey: 'a' })
    await t.throwsAsync(publishing, { code: 'WSE_TOPIC_UNLOGGED', message: /option recovery/ })
    t.is(await server.publish('other', { t: 'n', p: { n: 2 } }), null)
    t.like(await connection.next('n'), { p: { n: 2 } })
  })
}

test('refuses keys that are none', async (t) => {
  const { server } = await start(t)
  for (const idempotencyKey of ['', 'x'.repeat(256), 'ä'.repeat(128), 7, null]) {
    const publishing = server.publish('news', { t: 'n' }, { idempotencyKey } as never)
    await t.throwsAsync(publishing, { code: 'WSE_OPTION_INVALID', message: /idempotencyKey/ })
  }
})

test('refuses what leaves publications out beside a log, and names the option', async (t) => {
  const { server, publish } = await start(t, { recovery: { topics: ['news'] } })
  const connection = await connect(t, server)
  const refusal = { code: 'WSE_TOPIC_LOGGED', message: /option recovery\.topics, .* topicPolicies/ }
  await t.throwsAsync(server.joinQueueGroup(connection.id, 'news', 'workers'), refusal)
  await t.throwsAsync(server.publish('news', { t: 'n', p: {} }, { deadlineMs: 1_000 }), refusal)
  t.is(server.getTopicSubscriberCount('news'), 0)
  t.like((await publish('news', 1, 1))[0], { offset: 1 }, 'nothing was published')
  // Where there is no log, both are.
  t.like(await server.joinQueueGroup(connection.id, 'other', 'workers'), { successTopics: ['other'] })
  t.is(await server.publish('other', { t: 'n', p: { n: 1 } }, { deadlineMs: 60_000 }), null)
  await connection.next('n')
})
