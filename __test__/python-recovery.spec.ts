// The Python client that users already have, unmodified, is cut off and gets what it has missed.
import test, { type ExecutionContext } from 'ava'
import type { ServerOptions, WseServer } from 'wse-server'
import { until } from './harness/arrivals.js'
import { connect } from './harness/connect.js'
import { connectPython, installPython, type PythonClient, type PythonOptions, startPython } from './harness/python.js'
import { startRelay } from './harness/relay.js'
import { startServer } from './harness/server.js'
import { OP } from './harness/socket.js'
import { secret, tokenOf } from './harness/tokens.js'

test.before('finds the client, or installs it', async (t) => {
  t.timeout(600_000)
  await installPython()
})

/** Publishes stories that carry their own numbers, each third one long enough to be compressed. */
function publish(server: WseServer, from: number, to: number, topic = 'news'): void {
  for (let n = from; n <= to; n++) {
    server.broadcast(topic, { t: 'story', p: { topic, n, text: 'Grüße 😀 '.repeat(n % 3 === 0 ? 300 : 1) } })
  }
}

/** The client's user gets these stories, in order; their numbers are also their offsets, from `base` on. */
async function assertStories(t: ExecutionContext, client: PythonClient, from: number, to: number, base = 0) {
  for (let n = from; n <= to; n++) {
    const story = await client.next('story')
    t.is(story.payload.n, n)
    t.like(story, { topic: 'news', offset: n - base, version: 1, category: 'U' })
  }
}

/** Nothing has come beside what was taken: what the server says last, the client hears last. */
async function assertNoMore(t: ExecutionContext, client: PythonClient, server: WseServer) {
  server.broadcastAll('{"t":"end"}')
  await client.next('end')
  t.deepEqual(
    client.waiting.filter(({ event }) => event?.type === 'story'),
    [],
  )
}

/** Memory of all logs, so small that many other topics displace one. */
const budgetBytes = 256 << 10

/** Other topics are published to until the log of `news` is lost. */
function displace(server: WseServer): void {
  for (let n = 0; n < 500; n++) publish(server, 1, 1, `other:${n}`)
}

/** What the client holds as its position in `news`. */
const positionOf = async (client: PythonClient) =>
  ((await client.call('recovery_state')) as Record<string, [epoch: string, offset: number]>).news

const start = (t: ExecutionContext, options: PythonOptions = {}, serverOptions: ServerOptions = {}) =>
  startPython(t, options, { recovery: true, ...serverOptions })

const ways: [title: string, options: PythonOptions, prefixes: string[]][] = [
  ['compressed', {}, ['C:']],
  ['packed', { query: '?format=msgpack' }, ['M:']],
  ['encrypted', { arguments: { encryption: true } }, ['E:']],
]
for (const [title, options, prefixes] of ways) {
  test.serial(`misses nothing over many cuts, ${title}`, async (t) => {
    const { server, application, relay, client } = await start(t, options)
    await client.subscribe(['news'])
    publish(server, 1, 10)
    await assertStories(t, client, 1, 10)
    let last = 10
    for (let cut = 1; cut <= 5; cut++) {
      // On the wire when it breaks, while the client is away, and while it comes back.
      publish(server, last + 1, last + 20)
      relay.cut()
      publish(server, last + 21, last + 40)
      await application.next('connect')
      if (cut % 2 === 0) {
        // Again, wherever it is: before its request, or in the middle of the answer.
        relay.cut()
        await application.next('connect')
      }
      publish(server, last + 41, last + 60)
      await assertStories(t, client, last + 1, last + 60)
      last += 60
      const { payload } = await relay.heard.next(OP.binary)
      t.true(prefixes.includes(payload.toString('latin1', 0, 2)))
    }
    await assertNoMore(t, client, server)
    t.is((await positionOf(client))?.[1], last)
  })
}

test.serial('comes back to each of its topics where it left it', async (t) => {
  const topics = Array.from({ length: 20 }, (_, n) => `news:${n}`)
  const { server, relay, client } = await start(t)
  await client.subscribe(topics)
  for (const [n, topic] of topics.entries()) publish(server, 1, n, topic)
  relay.cut()
  for (const topic of topics) publish(server, 1, 20, topic)
  const ledger = new Map(topics.map((topic, n) => [topic, { offset: 0, own: n }]))
  for (let left = (20 * 19) / 2 + 20 * 20; left > 0; left--) {
    const { topic, offset, payload } = await client.next('story')
    const line = ledger.get(topic ?? '')
    t.truthy(line)
    if (!line) return
    line.offset += 1
    t.is(offset, line.offset)
    t.is(payload.n, line.offset > line.own ? line.offset - line.own : line.offset)
  }
  await assertNoMore(t, client, server)
})

test.serial('begins a new subscription with what comes, and knows its position before anything does', async (t) => {
  const { server, relay, client, connId } = await start(t)
  publish(server, 1, 7)
  await client.subscribe(['news'])
  const [epoch, offset] = (await positionOf(client)) ?? []
  t.regex(epoch ?? '', /^[\da-f]{8}$/)
  t.is(offset, 7)
  relay.cut()
  publish(server, 8, 9)
  await assertStories(t, client, 8, 9)
  t.deepEqual(await positionOf(client), [epoch, 9])
  t.not(((await client.call('get_stats')) as { connection_id: string }).connection_id, connId)
})

test.serial('goes on with what comes when it was away for too long', async (t) => {
  const { server, application, relay, client } = await start(t, {}, { recovery: { slots: 16 } })
  await client.subscribe(['news'])
  publish(server, 1, 3)
  await assertStories(t, client, 1, 3)
  relay.cut()
  // As many as the log keeps, and one more.
  publish(server, 4, 20)
  await client.logged('offset=20 recovered=False')
  publish(server, 21, 22)
  await assertStories(t, client, 21, 22)

  await application.next('connect')
  relay.cut()
  publish(server, 23, 38)
  await assertStories(t, client, 23, 38)
  await assertNoMore(t, client, server)
})

test.serial('goes on in the next epoch when the log was lost while it was away', async (t) => {
  const { server, relay, client } = await start(t, {}, { recovery: { budgetBytes } })
  await client.subscribe(['news'])
  publish(server, 1, 3)
  await assertStories(t, client, 1, 3)
  const before = await positionOf(client)
  relay.cut()
  publish(server, 4, 4)
  displace(server)
  await client.logged('offset=0 recovered=False')
  publish(server, 5, 7)
  await assertStories(t, client, 5, 7, 4)
  const after = await positionOf(client)
  t.not(after?.[0], before?.[0])
  t.is(after?.[1], 3)

  // The next time it recovers in the new epoch.
  relay.cut()
  publish(server, 8, 9)
  await assertStories(t, client, 8, 9, 4)
})

test.serial('takes a new epoch as it comes when the log is lost while it listens', async (t) => {
  const { server, client } = await start(t, {}, { recovery: { budgetBytes } })
  await client.subscribe(['news'])
  publish(server, 1, 3)
  await assertStories(t, client, 1, 3)
  displace(server)
  publish(server, 4, 6)
  await assertStories(t, client, 4, 6, 3)
  await assertNoMore(t, client, server)
})

test.serial('begins anew at a server that knows nothing of the one before', async (t) => {
  const { server, relay, client } = await start(t)
  await client.subscribe(['news'])
  publish(server, 1, 3)
  await assertStories(t, client, 1, 3)
  const next = await startServer(t, { topics: { allow: ['*'] }, recovery: true })
  publish(next, 1, 5)
  relay.layTo(next)
  await server.close()
  await client.logged('offset=5 recovered=False')
  publish(next, 6, 7)
  await assertStories(t, client, 6, 7)
})

for (const [title, slots, isLost] of [
  ['misses nothing', 1024, false],
  ['is told what it has missed, and goes on', 16, true],
] as const) {
  test.serial(`${title} behind a wire that stands still`, async (t) => {
    // Nothing is compressed: what the kernel holds back for the client is known to be less than all of it.
    const compression = { thresholdBytes: 1 << 20 }
    const serverOptions = { recovery: { slots }, outbound: { maxMessages: 10 }, compression }
    const { server, relay, client } = await start(t, {}, serverOptions)
    await client.subscribe(['news'])
    publish(server, 1, 1)
    await assertStories(t, client, 1, 1)
    relay.hold()
    const padding = 'x'.repeat(60_000)
    for (let n = 2; n <= 400; n++) server.broadcast('news', { t: 'story', p: { n, padding } })
    await until('a queue', () => server.memory().longestOutboundMessages > 0)
    relay.release()
    if (!isLost) {
      await assertStories(t, client, 2, 400)
      return assertNoMore(t, client, server)
    }
    const { payload } = await client.next('gap')
    t.like(payload, { topic: 'news', reason: 'slow' })
    await assertStories(t, client, 2, Number(payload.from) - 1)
    // It does not know what a gap is: the next story shows it that something is missing, and it asks.
    publish(server, 401, 401)
    await client.logged('recovered=False')
    const [, offset = 0] = (await positionOf(client)) ?? []
    publish(server, offset + 1, offset + 3)
    await assertStories(t, client, offset + 1, offset + 3)
    await assertNoMore(t, client, server)
  })
}

test.serial('is told who is there without losing its place', async (t) => {
  const options = { jwt: { secret }, recovery: true, presence: true, topics: { allow: ['news'] } }
  const server = await startServer(t, options)
  const relay = await startRelay(t, server)
  const client = await connectPython(t, relay, { arguments: { token: await tokenOf('anna') } })
  await client.subscribe(['news'])
  let last = 0
  for (const name of ['ben', 'carl']) {
    const guest = await connect(t, server, { token: await tokenOf(name) })
    publish(server, last + 1, last + 1)
    await server.subscribeConnection(guest.id, ['news'], { status: 'here' })
    publish(server, last + 2, last + 2)
    t.deepEqual((await client.next('presence_join')).payload, { user_id: name, data: { status: 'here' } })
    server.disconnect(guest.id)
    t.deepEqual((await client.next('presence_leave')).payload, { user_id: name, data: { status: 'here' } })
    relay.cut()
    publish(server, last + 3, last + 4)
    await assertStories(t, client, last + 1, last + 4)
    last += 4
  }
  await assertNoMore(t, client, server)
})

test.serial('is drained with all that was published, and goes on at the next server', async (t) => {
  const { server, relay, client } = await start(t)
  await client.subscribe(['news'])
  const next = await startServer(t, { topics: { allow: ['*'] }, recovery: true })
  relay.layTo(next)
  publish(server, 1, 50)
  await server.drainConnections({ waves: 1, deadlineMs: 1_000 })
  await client.logged('WebSocket closed: code=4300')
  await assertStories(t, client, 1, 50)
  await client.logged('offset=0 recovered=False')
  publish(next, 51, 52)
  await assertStories(t, client, 51, 52, 50)
  t.is(next.getConnectionCount(), 1)
})
