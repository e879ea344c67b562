// Queue groups: one member of each gets a publication.
import test from 'ava'
import { until } from './harness/arrivals.js'
import { type Connection, connect } from './harness/connect.js'
import { Reader } from './harness/reader.js'
import { Application, startServer } from './harness/server.js'

const numbersOf = (connection: Connection) =>
  connection.waiting
    .map((text) => JSON.parse(text))
    .filter(({ t }) => t === 'job')
    .map(({ p }) => p.n as number)

const upTo = (length: number) => Array.from({ length }, (_, n) => n)
const sorted = (numbers: number[]) => numbers.toSorted((a, b) => a - b)

test('gives each publication to one member of each group, and to everyone who holds the topic', async (t) => {
  const server = await startServer(t, { shards: 3, topics: { allow: ['jobs'] } })
  const workers = await Promise.all(upTo(4).map(() => connect(t, server)))
  for (const worker of workers) {
    const result = await server.joinQueueGroup(worker.id, 'jobs', 'workers')
    t.deepEqual(result, { success: true, successTopics: ['jobs'], failedTopics: [], recovery: {} })
  }
  const auditor = await connect(t, server)
  await server.joinQueueGroup(auditor.id, 'jobs', 'audit')
  const watcher = await connect(t, server)
  await watcher.subscribe(['jobs'])
  t.is(server.getTopicSubscriberCount('jobs'), 6)

  for (const n of upTo(100)) server.broadcast('jobs', { t: 'job', p: { n } })
  await until('all jobs', () => workers.flatMap(numbersOf).length === 100)
  await until('the others', () => [auditor, watcher].every((connection) => numbersOf(connection).length === 100))
  t.deepEqual(sorted(workers.flatMap(numbersOf)), upTo(100))
  t.deepEqual(
    workers.map((worker) => numbersOf(worker).length),
    [25, 25, 25, 25],
  )
})

test('passes on what the socket of a member does not take', async (t) => {
  const server = await startServer(t, { shards: 2 })
  const [stalled, quick] = [await connect(t, server), await connect(t, server)]
  for (const { id } of [stalled, quick]) await server.joinQueueGroup(id, 'jobs', 'workers')
  stalled.socket.pause()
  const padding = 'x'.repeat(64 << 10)
  for (const n of upTo(400)) {
    server.broadcast('jobs', { t: 'job', p: { n, padding } })
    // What a socket takes and what it refuses shows only between turns of the shards.
    if (n % 10 === 0) await quick.roundTrip()
  }
  await quick.roundTrip()
  t.true(numbersOf(quick).length > 250, `the reader got ${numbersOf(quick).length} of 400`)
  stalled.socket.resume()
  await until('all jobs', () => numbersOf(stalled).length + numbersOf(quick).length === 400)
  t.deepEqual(sorted([...numbersOf(stalled), ...numbersOf(quick)]), upTo(400), 'each came once')
  server.broadcast('jobs', { t: 'job', p: { n: 400 } })
  server.broadcast('jobs', { t: 'job', p: { n: 401 } })
  await until('the last two', () => numbersOf(stalled).length + numbersOf(quick).length === 402)
})

test('ends a membership with the connection, and when it is unsubscribed or subscribes', async (t) => {
  const server = await startServer(t, { topics: { allow: ['jobs'] } })
  const members = await Promise.all(upTo(4).map(() => connect(t, server)))
  for (const { id } of members) await server.joinQueueGroup(id, 'jobs', 'workers')
  const [gone, idle, holder, worker] = members as [Connection, Connection, Connection, Connection]
  gone.socket.terminate()
  server.unsubscribeConnection(idle.id, ['jobs'])
  await holder.subscribe(['jobs'])
  await until('the end of a connection', () => server.getTopicSubscriberCount('jobs') === 2)
  for (const n of upTo(10)) server.broadcast('jobs', { t: 'job', p: { n } })
  for (const connection of [worker, holder]) {
    await until('all jobs', () => numbersOf(connection).length === 10)
    t.deepEqual(numbersOf(connection), upTo(10), 'and each once')
  }
  await idle.roundTrip()
  t.deepEqual(numbersOf(idle), [])
})

test('refuses what is denied, what is no name, and a connection that is gone', async (t) => {
  const server = await startServer(t, { topics: { deny: ['secret*'] } })
  const { id } = await connect(t, server)
  for (const topic of ['secrets', '', 'jobs*']) {
    const refused = { success: false, successTopics: [], failedTopics: [topic], recovery: {} }
    t.deepEqual(await server.joinQueueGroup(id, topic, 'workers'), refused)
  }
  t.false((await server.joinQueueGroup('01890000-0000-7000-8000-000000000000', 'jobs', 'workers')).success)
  await t.throwsAsync(server.joinQueueGroup(id, 'jobs', ''), { code: 'WSE_TOPIC_INVALID' })
  await t.throwsAsync(server.joinQueueGroup(id, 'jobs', 7 as unknown as string), { code: 'WSE_OPTION_INVALID' })
  t.is(server.getTopicSubscriberCount('jobs'), 0)
})

test('ends a membership with the rule that denies its topic', async (t) => {
  const server = await startServer(t)
  const [worker, other] = [await connect(t, server), await connect(t, server)]
  await server.joinQueueGroup(worker.id, 'jobs', 'workers')
  await server.joinQueueGroup(other.id, 'jobs', 'others')
  server.broadcast('jobs', { t: 'job', p: { n: 0 } })
  server.setTopicRules({ deny: ['jobs'] })
  server.broadcast('jobs', { t: 'job', p: { n: 1 } })
  for (const connection of [worker, other]) {
    t.deepEqual((await connection.next('subscription_update')).p.success_topics, ['jobs'])
    await connection.roundTrip()
    t.deepEqual(numbersOf(connection), [0])
  }
  t.is(server.getTopicSubscriberCount('jobs'), 0)
})

test('gives no job to two workers, however often these are cut, and loses none that was not on its way', async (t) => {
  const server = await startServer(t, { shards: 3 })
  const application = new Application(server)
  const counts = new Map<number, number>()
  const onMessage = (payload: Buffer) => {
    const { t: type, p } = JSON.parse(payload.toString())
    if (type === 'job') counts.set(p.n, (counts.get(p.n) ?? 0) + 1)
  }
  const workers = new Set<Reader>()
  t.teardown(() => workers.forEach((worker) => void worker.tcp.destroy()))
  const hire = async () => {
    workers.add(new Reader(server.port, { onMessage }))
    const { connId } = await application.next('connect')
    t.true((await server.joinQueueGroup(connId, 'jobs', 'workers')).success)
  }
  for (const _ of upTo(6)) await hire()
  let published = 0
  const publish = (count: number) => {
    for (const _ of upTo(count)) server.broadcast('jobs', { t: 'job', p: { n: published++ } })
  }
  for (const round of upTo(60)) {
    publish(100)
    const worker = [...workers][round % 6] as Reader
    workers.delete(worker)
    worker.cut()
    publish(100)
    await hire()
  }
  await until('the ends', () => server.getConnectionCount() === 6)
  const before = published
  publish(1_000)
  await until('what nobody was cut for', () => upTo(1_000).every((n) => counts.has(before + n)))
  t.true(
    [...counts.values()].every((count) => count === 1),
    'each came once',
  )
  t.log(`${before + 1_000 - counts.size} of ${before + 1_000} were on their way to a worker that was cut`)
})
