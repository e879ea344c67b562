import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { createServer as createTlsServer, type Server as HttpsServer } from 'node:https'
import { Duplex } from 'node:stream'
import test, { type ExecutionContext } from 'ava'
import { type AuthenticateRequest, type Identity, WseServer } from 'wse-server'
import { Arrivals, within } from './harness/arrivals.js'
import { makeCertificate } from './harness/certificates.js'
import { connect, refused } from './harness/connect.js'
import { serveOn } from './harness/host.js'
import { Application } from './harness/server.js'
import { openSocket, upgradeRequest } from './harness/socket.js'

const certificate = await makeCertificate()

const hosts = [
  [
    'HTTPS',
    async (t: ExecutionContext) => ({ ...(await serveOn(t, createTlsServer(certificate))), ca: certificate.cert }),
  ],
  ['HTTP', (t: ExecutionContext) => serveOn(t, createServer(), {}, { via: 'stream' })],
] as const

const close = (http: Server | HttpsServer) => within(new Promise((resolve) => http.close(resolve)), 'the host to close')
const connectionsOf = (http: Server | HttpsServer) =>
  new Promise<number>((resolve) => http.getConnections((_, count) => resolve(count)))

for (const [name, open] of hosts) {
  test(`lets a host of ${name} close first, and tells its connections that the server restarts`, async (t) => {
    const host = await open(t)
    const connections = await Promise.all([connect(t, host), connect(t, host)])
    await close(host.http)
    for (const connection of connections) t.is((await connection.closed()).code, 1012)
    await within(host.wse.close(), 'the engine to close')
  })

  test(`writes more than one turn takes to many streams of ${name}, intact and in order`, async (t) => {
    const host = await open(t)
    const application = new Application(host.wse)
    const connections = await Promise.all(Array.from({ length: 40 }, () => connect(t, host)))
    for (const connection of connections) {
      await application.next('connect')
      await host.wse.subscribeConnection(connection.id, ['news'])
    }
    const texts = Array.from({ length: 8 }, (_, n) => String(n).repeat(50_000))
    for (const text of texts) t.true(host.wse.broadcast('news', text))
    for (const connection of connections) {
      for (const text of texts) t.true((await connection.nextText()) === text)
    }
  })

  test(`closes beside a client of ${name} that reads nothing, and leaves no socket behind`, async (t) => {
    const host = await open(t)
    const application = new Application(host.wse)
    const connection = await connect(t, host, { paused: true })
    const { connId } = await application.next('connect')
    const megabyte = Buffer.alloc(1_000_000)
    for (let n = 0; n < 12; n++) host.wse.sendBytes(connId, megabyte)
    await within(host.wse.close(), 'the engine to close')
    await close(host.http)
    t.is(await connectionsOf(host.http), 0)
    connection.socket.terminate()
  })
}

test('refuses on a closing host who still waits for the application', async (t) => {
  let decide = (_: Identity | null) => {}
  const decision = new Promise<Identity | null>((resolve) => {
    decide = resolve
  })
  const asked = new Arrivals<AuthenticateRequest>()
  const authenticate = (request: AuthenticateRequest) => {
    asked.push(request)
    return decision
  }
  const { http, wse, port } = await serveOn(t, createServer(), { authenticate }, { via: 'stream' })
  const waiting = refused(t, { port })
  await asked.next('the question')
  const closed = close(http)
  t.is((await waiting).status, 503)
  await closed
  decide(null)
  await within(wse.close(), 'the engine to close')
})

test('lets a stream that throws end alone', async (t) => {
  const host = await serveOn(t, createServer(), {}, { via: 'stream' })
  const application = new Application(host.wse)
  const bad = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
  host.http.emit('connection', bad)
  const closed = new Promise((resolve) => bad.once('close', resolve))
  bad.on('error', () => {})
  bad.push(upgradeRequest())
  await application.next('connect')
  const healthy = await connect(t, host)
  await application.next('connect')
  bad.write = () => {
    throw new Error('a stream of its own kind')
  }
  host.wse.broadcastAll('to all')
  t.is(await healthy.nextText(), 'to all')
  await within(closed, 'the end of the stream')
  t.is((await application.next('disconnect')).code, 1006)
})

test('gives up on who is refused and reads nothing', async (t) => {
  const asked = new Arrivals<AuthenticateRequest>()
  const authenticate = (request: AuthenticateRequest) => {
    asked.push(request)
    return new Promise<null>(() => {})
  }
  const http = createServer((_, response) => void response.end(Buffer.alloc(30_000_000)))
  const host = await serveOn(t, http, { authenticate }, { via: 'stream' })
  const socket = await openSocket(t, host)
  socket.tcp.pause()
  socket.write('GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n')
  socket.write(upgradeRequest())
  await asked.next('the question')
  await close(host.http)
  t.is(await connectionsOf(host.http), 0)
})

test('gives a host its own functions back when the last engine leaves it', async (t) => {
  const http = createServer()
  const { emit, close } = http
  const first = new WseServer({ path: '/first' })
  const second = new WseServer({ path: '/second' })
  first.attach(http, { via: 'stream' })
  second.attach(http)
  await first.close()
  await second.close()
  t.is(http.emit, emit)
  t.is(http.close, close)
  t.is(http.listenerCount('upgrade'), 0)
})

test('serves the same user on both paths of one engine', async (t) => {
  const http = createServer()
  const wse = new WseServer()
  wse.attach(http)
  t.teardown(async () => {
    await wse.close()
    http.close()
  })
  const https = createTlsServer(certificate, (request, response) => http.emit('request', request, response))
  https.on('upgrade', (request, socket, head) => http.emit('upgrade', request, socket, head))
  t.teardown(() => https.close())
  for (const host of [http, https]) {
    host.listen(0, '127.0.0.1')
    await within(once(host, 'listening'), 'a host')
  }
  const portOf = (host: Server | HttpsServer) => (host.address() as { port: number }).port
  const application = new Application(wse)
  const plain = await connect(t, { port: portOf(http) })
  const encrypted = await connect(t, { port: portOf(https), ca: certificate.cert })
  for (const connection of [plain, encrypted]) {
    await application.next('connect')
    await wse.subscribeConnection(connection.id, ['news'])
  }
  t.is(wse.getConnectionCount(), 2)
  t.is(wse.getTopicSubscriberCount('news'), 2)
  wse.broadcast('news', 'to both')
  wse.broadcastAll('to all')
  for (const connection of [plain, encrypted]) {
    t.is(await connection.nextText(), 'to both')
    t.is(await connection.nextText(), 'to all')
  }
})
