// Clients that break off come back to everything that they have missed.
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises'
import test from 'ava'
import { until } from './harness/arrivals.js'
import { Follower } from './harness/follower.js'
import { startServer } from './harness/server.js'

/** Numbers from a seed: the same run again for the same seed. */
function random(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

test('leaves no hole with 200 clients that are cut at random under 2 000 messages a second', async (t) => {
  const TICKS = 600
  const seed = Number(process.env.RETURNS_SEED ?? Math.floor(Math.random() * 2 ** 32))
  t.log(`RETURNS_SEED=${seed}`)
  const below = random(seed)
  const server = await startServer(t, { topics: { allow: ['*'] }, recovery: { slots: 256 } })
  const topics = Array.from({ length: 20 }, (_, n) => `topic:${n}`)
  const heads = new Map<string, number>(topics.map((topic) => [topic, 0]))
  const clients = Array.from({ length: 200 }, (_, n) => {
    const held = [0, 7, 13].map((step) => topics[(n + step) % topics.length] as string)
    return new Follower(held)
  })
  t.teardown(() => clients.forEach((client) => void client.leave()))
  for (const client of clients) client.come(server.port)
  await until('all subscriptions', () => clients.every(({ isSettled }) => isSettled))

  /** Who comes back when. */
  const returns = new Map<number, Follower[]>()
  const began = performance.now()
  for (let tick = 0; tick < TICKS; tick++) {
    for (const client of returns.get(tick) ?? []) client.come(server.port)
    for (let n = 0; n < 2; n++) {
      const client = clients[below(clients.length)] as Follower
      if (!client.reader) continue
      // Wherever it is: in the middle of a message, of its replay, or before the answer to its handshake.
      client.leave()
      // One in forty stays away for longer than the log reaches back.
      const at = Math.min(TICKS - 1, tick + 1 + (below(40) === 0 ? 300 : below(80)))
      returns.set(at, [...(returns.get(at) ?? []), client])
    }
    for (const [topic, head] of heads) {
      server.broadcast(topic, { t: 'news', p: { n: head + 1 } })
      heads.set(topic, head + 1)
    }
    // Twenty in ten milliseconds are 2 000 a second; nothing that is asserted depends on it.
    await delay(began + 10 * tick - performance.now())
  }
  for (const client of clients) if (!client.reader) client.come(server.port)
  const isOver = () => clients.every((client) => client.isAt(heads)) || clients.some(({ faults }) => faults.length > 0)
  await until('everybody', isOver)
  t.deepEqual(
    clients.flatMap(({ faults }) => faults),
    [],
  )
  const recovered = clients.reduce((sum, client) => sum + client.recovered, 0)
  const announced = clients.reduce((sum, client) => sum + client.announced, 0)
  t.log(`${recovered} topics were recovered, ${announced} were announced as lost`)
  t.true(recovered > 1_000 && announced > 0)
  t.true(recovered / (recovered + announced) >= 0.95)
})

test('recovers fifty topics at once through a queue of 1 000', async (t) => {
  const server = await startServer(t, { topics: { allow: ['*'] }, recovery: { slots: 256 } })
  const topics = Array.from({ length: 50 }, (_, n) => `topic:${n}`)
  const heads = new Map<string, number>(topics.map((topic) => [topic, 0]))
  const padding = 'x'.repeat(1_000)
  const publish = (count: number) => {
    for (let n = 0; n < count; n++) {
      for (const [topic, head] of heads) {
        server.broadcast(topic, { t: 'news', p: { n: head + 1, padding } })
        heads.set(topic, head + 1)
      }
    }
  }
  const client = new Follower(topics)
  t.teardown(() => client.leave())
  client.come(server.port)
  publish(2)
  await until('the first publications', () => client.isAt(heads))
  client.leave()
  await until('its end', () => server.getConnectionCount() === 0)

  publish(200)
  const { tcp } = client.come(server.port)
  tcp.pause()
  await until('a queue', () => server.memory().longestOutboundMessages > 0)
  let longest = 0
  for (let round = 0; round < 40; round++) {
    publish(1)
    longest = Math.max(longest, server.memory().longestOutboundMessages)
    await turn()
  }
  tcp.resume()
  await until('everything', () => client.isAt(heads) || client.faults.length > 0)
  t.deepEqual(client.faults, [])
  t.is(client.recovered, 50)
  t.true(longest <= 1_000, `${longest} messages waited`)
  publish(3)
  await until('what comes next', () => client.isAt(heads) || client.faults.length > 0)
  t.deepEqual(client.faults, [])
})

test('takes 2 000 clients through a drain to another instance, which asks nobody who they are', async (t) => {
  const asked = [0, 0]
  const start = (instance: number) =>
    startServer(t, {
      authenticate: ({ headers }) => {
        asked[instance] = (asked[instance] ?? 0) + 1
        return { userId: String(headers['x-user']), claims: {} }
      },
      topics: { allow: ['*'] },
      tickets: { secret: 'what both of them know, of 32 bytes or more' },
      recovery: { slots: 256 },
    })
  const [first, second] = [await start(0), await start(1)]
  const topics = Array.from({ length: 10 }, (_, n) => `topic:${n}`)
  const heads = new Map<string, number>(topics.map((topic) => [topic, 0]))
  const publish = () => {
    for (const [topic, head] of heads) {
      for (const server of [first, second]) server.broadcast(topic, { t: 'news', p: { n: head + 1 } })
      heads.set(topic, head + 1)
    }
  }
  const clients = Array.from({ length: 2_000 }, (_, n) => new Follower([topics[n % topics.length] as string]))
  t.teardown(() => clients.forEach((client) => void client.leave()))
  const comeFirst = (client: Follower, n: number) =>
    client.come(first.port, { request: { headers: { 'X-User': `user ${n}` } } })
  for (const [n, client] of clients.entries()) comeFirst(client, n)
  await until('all subscriptions', () => clients.every(({ isSettled }) => isSettled))
  publish()
  await until('the first publications', () => clients.every((client) => client.isAt(heads)))

  // Who is cut comes back to the same logs. Of a drain nobody does: the door of that instance is shut for good.
  const cut = clients.slice(0, 500)
  for (const client of cut) client.leave()
  for (let n = 0; n < 3; n++) publish()
  for (const [n, client] of cut.entries()) comeFirst(client, n)
  await until('those who were cut', () => clients.every((client) => client.isAt(heads)))
  t.true(cut.every(({ recovered, announced }) => recovered === 1 && announced === 0))

  /** What was published before the drain began. */
  const owed = new Map<string, number>()
  const moved = clients.map(async (client) => {
    await client.reader?.ended()
    const { ticket, retry_after_ms } = client.farewell ?? { ticket: '', retry_after_ms: 0 }
    const [code, isWhole] = [client.reader?.closeCode, client.has(owed)]
    await delay(retry_after_ms)
    client.come(second.port, { request: { headers: { 'Sec-WebSocket-Protocol': `wse.v2, wse.ticket.${ticket}` } } })
    return { code, isWhole, retry_after_ms }
  })
  publish()
  for (const [topic, head] of heads) owed.set(topic, head)
  const drained = first.drainConnections({ waves: 10, deadlineMs: 3_000 })
  let isOver = false
  const all = Promise.all(moved).finally(() => {
    isOver = true
  })
  while (!isOver) {
    publish()
    // Whoever is told to wait waits meanwhile.
    await delay(50)
  }
  await drained
  const farewells = await all
  await until('everybody', () => clients.every((client) => client.isAt(heads)))
  t.deepEqual(
    clients.flatMap(({ faults }) => faults),
    [],
  )
  t.true(farewells.every(({ code, isWhole }) => code === 4300 && isWhole))
  t.true(new Set(farewells.map(({ retry_after_ms }) => retry_after_ms)).size > 100)
  t.deepEqual([first.getConnectionCount(), second.getConnectionCount()], [0, 2_000])
  t.deepEqual(asked, [2_500, 0], 'nobody who comes with a ticket')
  t.true(
    clients.every(({ announced }) => announced === 1),
    'the log of another instance is another one',
  )
})
