import test from 'ava'
import { connect } from './harness/connect.js'
import { isClean } from './harness/offence.js'
import { Application, startServer } from './harness/server.js'
import { frameBytes, OP, openUpgraded } from './harness/socket.js'

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
  new Application(server)
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
  t.is((await slow.nextText()).length, padding.length)
  await isClean(t, { wse: server, port: server.port }, 1)
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
