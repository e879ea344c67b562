import test from 'ava'
import { connect } from './harness/connect.js'
import { Application, startServer } from './harness/server.js'
import { frameBytes, OP, openUpgraded } from './harness/socket.js'

test('warns a flooder, names the fault and ends it with 4429, and serves the others', async (t) => {
  const server = await startServer(t, { rateLimit: { perSecond: 100, burst: 200 } })
  new Application(server)
  const [flooder, healthy] = [await connect(t, server), await connect(t, server)]
  const flood = setInterval(() => {
    for (let n = 0; n < 100; n++) flooder.send({ t: 'chat', p: {} })
  }, 20)
  t.teardown(() => clearInterval(flood))
  t.like((await flooder.next('rate_limit_warning')).p, { limit: 100 })
  t.is((await flooder.next('error')).p.code, 'RATE_LIMITED')
  await healthy.roundTrip()
  t.is((await flooder.closed()).code, 4429)
  await healthy.roundTrip()
})

test('tells a slow reader what it missed, ends it with 4503, and serves the others meanwhile', async (t) => {
  const server = await startServer(t, { outbound: { maxBytes: 64 * 1024, slowTimeoutMs: 1_000 } })
  const application = new Application(server)
  const healthy = await connect(t, server)
  const slow = await openUpgraded(t, server)
  const ids = server.getConnections()
  await Promise.all(ids.map((id) => server.subscribeConnection(id, ['prices'])))
  slow.tcp.pause()

  let isOver = false
  const gone = application
    .next('disconnect', (event) => event.connId !== healthy.id)
    .finally(() => {
      isOver = true
    })
  const padding = 'x'.repeat(10_000)
  for (let n = 0; !isOver; n++) {
    server.broadcast('prices', { t: 'price', p: { n, padding } })
    t.is((await healthy.next('price')).p.n, n)
  }
  t.is((await gone).code, 4503)
  await healthy.roundTrip()
})

test('says how many messages of which topic a slow reader has missed', async (t) => {
  const server = await startServer(t, { outbound: { maxBytes: 64 * 1024, slowTimeoutMs: 60_000 } })
  const slow = await connect(t, server)
  await server.subscribeConnection(slow.id, ['prices'])
  slow.socket.pause()
  const padding = 'x'.repeat(10_000)
  const count = 5_000
  for (let n = 0; n < count; n++) {
    server.broadcast('prices', { t: 'price', p: { n, padding } })
    if (n % 50 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  slow.socket.resume()
  const gap = await slow.next('gap')
  t.is(gap.p.topic, 'prices')
  const missed = gap.p.count as number
  t.true(missed > 0)
  await slow.roundTrip()
  const seen = slow.waiting.filter((text) => text.includes('"t":"price"')).length
  const gaps = slow.waiting
    .filter((text) => text.includes('"t":"gap"'))
    .map((text) => JSON.parse(text).p.count as number)
  t.is(seen + missed + gaps.reduce((sum, more) => sum + more, 0), count)
})

test('refuses a message to a connection whose queue is full', async (t) => {
  const server = await startServer(t, { outbound: { maxMessages: 10, slowTimeoutMs: 60_000 } })
  const slow = await openUpgraded(t, server)
  slow.tcp.pause()
  const [id = ''] = server.getConnections()
  const padding = 'x'.repeat(100_000)
  let sent = 0
  while (sent < 10_000 && server.send(id, padding)) {
    sent += 1
    await new Promise((resolve) => setImmediate(resolve))
  }
  t.true(sent < 10_000)
  t.true(server.memory().totalBytes > 0)
})

test('says false to a broadcast over the memory budget, and true again when there is room', async (t) => {
  const server = await startServer(t, {
    memoryBudgetBytes: 2 << 20,
    outbound: { maxMessages: 0, maxBytes: 0, slowTimeoutMs: 0 },
  })
  const slow = await connect(t, server)
  await server.subscribeConnection(slow.id, ['prices'])
  slow.socket.pause()
  const padding = 'x'.repeat(100_000)
  let queued = 0
  while (queued < 1_000 && server.broadcast('prices', padding)) {
    queued += 1
    await new Promise((resolve) => setImmediate(resolve))
  }
  t.true(queued < 1_000)
  slow.socket.resume()
  for (let n = 0; n < queued; n++) await slow.nextText()
  await slow.roundTrip()
  t.true(server.broadcast('prices', padding))
})

test('serves thousands beside a connection that never reads', async (t) => {
  const server = await startServer(t)
  const stalled = await openUpgraded(t, server)
  stalled.tcp.pause()
  const healthy = await connect(t, server)
  const padding = 'x'.repeat(50_000)
  for (let n = 0; n < 1_000; n++) {
    server.broadcastAll(JSON.stringify({ t: 'n', p: { n, padding } }))
    t.is((await healthy.next('n')).p.n, n)
  }
})

test('pings a silent connection, which stays while it answers', async (t) => {
  const server = await startServer(t, { heartbeatIntervalMs: 50, idleTimeoutMs: 400 })
  const connection = await connect(t, server)
  for (let n = 0; n < 12; n++) await connection.nextControl('ping')
  await connection.roundTrip()
})

test('pings in the protocol once a client has said hello', async (t) => {
  const server = await startServer(t, { heartbeatIntervalMs: 50, idleTimeoutMs: 5_000 })
  const connection = await connect(t, server)
  connection.send({ t: 'client_hello', p: { client_version: '1', protocol_version: 2, features: {} } })
  await connection.next('server_hello')
  const text = await connection.nextText((candidate) => candidate.includes('"ping"'))
  t.true(text.startsWith('{"t":"ping"'))
})

test('ends a connection that stays silent past the idle limit with 4408, and serves the others', async (t) => {
  const server = await startServer(t, { heartbeatIntervalMs: 100, idleTimeoutMs: 300 })
  const application = new Application(server)
  const healthy = await connect(t, server)
  const silent = await openUpgraded(t, server)
  t.is((await silent.closeFrame()).code, 4408)
  await silent.ended()
  t.is((await application.next('disconnect')).code, 4408)
  await healthy.roundTrip()
})

test('counts a pong of the RFC as activity', async (t) => {
  const server = await startServer(t, { heartbeatIntervalMs: 50, idleTimeoutMs: 400 })
  const socket = await openUpgraded(t, server)
  for (let n = 0; n < 12; n++) {
    const { payload } = await socket.next(OP.ping)
    socket.write(frameBytes(OP.pong, payload))
  }
  socket.write(frameBytes(OP.ping, 'alive'))
  t.is((await socket.next(OP.pong)).payload.toString(), 'alive')
})

test('really closes the socket of a client that does not answer its close', async (t) => {
  const server = await startServer(t)
  const application = new Application(server)
  const socket = await openUpgraded(t, server)
  const { connId } = await application.next('connect')
  server.disconnect(connId)
  t.is((await socket.closeFrame()).code, 4403)
  await socket.ended()
  await application.next('disconnect')
  t.is(server.getConnectionCount(), 0)
})
