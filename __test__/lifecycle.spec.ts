import { createServer } from 'node:net'
import test from 'ava'
import { WseServer } from 'wse-server'
import { within } from './harness/arrivals.js'
import { runModule } from './harness/child.js'
import { connect } from './harness/connect.js'
import { Application, startServer } from './harness/server.js'
import { openSocket } from './harness/socket.js'

test('lets the process end by itself after close, whatever was open', async (t) => {
  const child = runModule(
    t,
    `import { WseServer } from 'wse-server'
    const wse = new WseServer()
    const { port } = await wse.listen({ host: '127.0.0.1', port: 0 })
    const socket = new WebSocketClient('ws://127.0.0.1:' + port + '/wse')
    import { WebSocket as WebSocketClient } from 'ws'
    await new Promise((resolve) => socket.once('message', resolve))
    const draining = (async () => { for await (const batch of wse.drain()) void batch })()
    await wse.close()
    await draining
    console.log('closed')`,
  )
  await child.nextLine((line) => line === 'closed')
  t.like(await child.exited(), { code: 0, errors: '' })
})

test('lets the process end by itself after close in router mode', async (t) => {
  const child = runModule(
    t,
    `import { createServer } from 'node:http'
    import { WebSocket as WebSocketClient } from 'ws'
    import { WseServer } from 'wse-server'
    const wse = new WseServer()
    const http = createServer()
    wse.attach(http)
    await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve))
    const socket = new WebSocketClient('ws://127.0.0.1:' + http.address().port + '/wse')
    await new Promise((resolve) => socket.once('message', resolve))
    http.close()
    await wse.close()`,
  )
  t.like(await child.exited(), { code: 0, errors: '' })
})

test('keeps the process alive while it listens, and does so no longer than that', async (t) => {
  const child = runModule(
    t,
    `import { WseServer } from 'wse-server'
    const wse = new WseServer()
    process.once('SIGTERM', () => wse.close())
    console.log((await wse.listen({ host: '127.0.0.1', port: 0 })).port)`,
  )
  const port = Number(await child.nextLine())
  const connection = await connect(t, { port })
  await connection.roundTrip()
  child.kill('SIGTERM')
  t.is((await connection.closed()).code, 1012)
  t.like(await child.exited(), { code: 0, errors: '' })
})

test('lets a process end that made an engine and never started it', async (t) => {
  const child = runModule(t, `import { WseServer } from 'wse-server'; new WseServer()`)
  t.like(await child.exited(), { code: 0, errors: '' })
})

test('keeps several engines of one process apart', async (t) => {
  const servers = await Promise.all([startServer(t), startServer(t), startServer(t)])
  const applications = servers.map((server) => new Application(server))
  const connections = await Promise.all(servers.map((server) => connect(t, server)))
  for (const [index, server] of servers.entries()) {
    server.broadcastAll(JSON.stringify({ t: 'from', p: { index } }))
    connections[index]?.send({ t: 'to', p: { index } })
  }
  for (const [index, connection] of connections.entries()) {
    t.deepEqual((await connection.next('from')).p, { index })
    t.like((await applications[index]?.next('msg'))?.data, { p: { index } })
    t.is(servers[index]?.getConnectionCount(), 1)
  }
  await servers[0]?.close()
  t.is((await connections[0]?.closed())?.code, 1012)
  await connections[1]?.roundTrip()
})

test('closes once, however often it is asked, and says that it no longer runs', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  t.true(server.isRunning())
  await Promise.all([server.close(), server.close()])
  await server.close()
  t.false(server.isRunning())
  t.is((await connection.closed()).code, 1012)
  await t.throwsAsync(openSocket(t, server))
})

test('delivers what was broadcast before close', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  for (let n = 0; n < 1_000; n++) server.broadcastAll(`${n}`)
  await server.close()
  for (let n = 0; n < 1_000; n++) t.is(await connection.nextText(), `${n}`)
  t.is((await connection.closed()).code, 1012)
})

test('closes even when a client never answers', async (t) => {
  const server = await startServer(t)
  const stalled = await connect(t, server)
  stalled.socket.pause()
  await within(server.close(), 'the end of the server')
  t.false(server.isRunning())
  await t.throwsAsync(openSocket(t, server))
})

test('is disposed of at the end of a block', async (t) => {
  const server = new WseServer()
  await server.listen({ host: '127.0.0.1', port: 0 })
  await server[Symbol.asyncDispose]()
  t.false(server.isRunning())
})

test('refuses to start twice, and to be used after close', async (t) => {
  const server = await startServer(t)
  await t.throwsAsync(server.listen({ host: '127.0.0.1', port: 0 }), { code: 'WSE_SERVER_STARTED' })
  await server.close()
  await t.throwsAsync(server.listen({ host: '127.0.0.1', port: 0 }), { code: 'WSE_SERVER_CLOSED' })
  t.false(server.broadcast('chat', 'x'))
  t.deepEqual(server.getConnections(), [])
  t.throws(() => server.healthSnapshot(), { code: 'WSE_SERVER_CLOSED' })
})

test('says that a port is in use, and starts on another one after that', async (t) => {
  const occupant = createServer().listen(0, '127.0.0.1')
  t.teardown(() => occupant.close())
  await new Promise((resolve) => occupant.once('listening', resolve))
  const { port } = occupant.address() as { port: number }
  const server = new WseServer()
  t.teardown(() => server.close())
  await t.throwsAsync(server.listen({ host: '127.0.0.1', port }), { code: 'WSE_LISTEN_FAILED' })
  const { port: other } = await server.listen({ host: '127.0.0.1', port: 0 })
  await (await connect(t, { port: other })).roundTrip()
})

test('listens on the address of a name, and says when there is none', async (t) => {
  const server = new WseServer()
  t.teardown(() => server.close())
  await t.throwsAsync(server.listen({ host: 'no-such-host.invalid', port: 0 }), { code: 'WSE_LISTEN_FAILED' })
  t.false(server.isRunning())
  t.true((await server.listen({ host: 'localhost', port: 0 })).port > 0)
})

test('does not listen when it is closed while it looks for the address', async (t) => {
  const server = new WseServer()
  const listening = server.listen({ host: 'localhost', port: 0 })
  const closed = server.close()
  await t.throwsAsync(listening, { code: 'WSE_SERVER_CLOSED' })
  await closed
})

test('can be loaded by CommonJS', async (t) => {
  const child = runModule(
    t,
    `import { createRequire } from 'node:module'
    console.log(typeof createRequire(import.meta.url)('wse-server').WseServer)`,
  )
  t.is(await child.nextLine(), 'function')
})
