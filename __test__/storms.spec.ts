// Everyone is sent away and comes back: waves, tickets, the door, and the end of the process.
import { createServer } from 'node:http'
import test from 'ava'
import type { AuthenticateRequest, JsonObject } from 'wse-server'
import { Arrivals, until, within } from './harness/arrivals.js'
import { makeCertificate } from './harness/certificates.js'
import { runModule } from './harness/child.js'
import { type Connection, connect, refused } from './harness/connect.js'
import type { Envelope } from './harness/envelope.js'
import { get, serveOn } from './harness/host.js'
import { Application, startServer } from './harness/server.js'
import { openSocket, upgradeRequest } from './harness/socket.js'
import { secret, tokenOf } from './harness/tokens.js'

const certificate = await makeCertificate()
const shared = { secret: 'what all instances of a service know, of 32 bytes or more' }

/** The ticket of a connection, as `client_hello` gives it. */
async function ticketOf(connection: Connection): Promise<string | undefined> {
  connection.send({ t: 'client_hello' })
  return (await connection.next('server_hello')).p.resume_ticket as string | undefined
}

const withTicket = (ticket: string | undefined) => ({ protocols: ['wse.v2', `wse.ticket.${ticket}`] })

test('sends everyone away in waves, with a time to come back of their own, and lets nobody in', async (t) => {
  const server = await startServer(t, { authenticate: () => ({ userId: 'anna' }), maxConnectionsPerUser: 0 })
  const connections = await Promise.all(Array.from({ length: 60 }, () => connect(t, server)))
  await Promise.all(connections.map(({ id }) => server.subscribeConnection(id, ['news'])))
  t.true(server.broadcast('news', { t: 'news', p: { n: 1 } }))
  const drained = server.drainConnections({ waves: 3, deadlineMs: 600 })
  const joined = server.drainConnections()
  t.is((await get(server, '/wse/ready')).status, 503)
  t.is((await get(server, '/wse/health')).status, 503)
  const { status, headers } = await refused(t, server)
  t.is(status, 503)
  t.truthy(headers['retry-after'])
  await within(Promise.all([drained, joined]), 'the end of the drain')
  t.is(server.getConnectionCount(), 0)
  t.true(server.isRunning())
  const delays = new Set<unknown>()
  for (const connection of connections) {
    await connection.next('news')
    const { p } = await connection.next('server_draining')
    t.is(typeof p.ticket, 'string')
    t.deepEqual(await connection.closed(), { code: 4300, reason: `retry_after_ms=${p.retry_after_ms}` })
    t.true((p.retry_after_ms as number) < 200)
    delays.add(p.retry_after_ms)
  }
  t.true(delays.size > 10, `${delays.size} times to come back`)
  await server.close()
})

// Apart: those who watch a clock are not to be held up by it.
test.serial('loses nothing for 2 000 clients that are sent away, and has them back without a question', async (t) => {
  const users = 2_000
  /** Publications that everyone is owed. */
  const BEFORE = 20
  let asked = 0
  const authenticate = ({ url }: AuthenticateRequest) => {
    asked += 1
    return { userId: new URL(url, 'ws://host').searchParams.get('user') ?? '' }
  }
  const options = { authenticate, tickets: shared, subscribeOnConnect: ['news'] }
  const [first, second] = [await startServer(t, { ...options, shards: 1 }), await startServer(t, options)]
  const clients: Connection[] = []
  for (let n = 0; n < users; n += 100) {
    const some = Array.from({ length: 100 }, (_, m) => connect(t, first, { path: `/wse?user=${n + m}` }))
    clients.push(...(await Promise.all(some)))
  }
  /** When each publication was first heard, by its number: one thread had it for all who were there by then. */
  const heardAt: number[] = []
  /** How many have heard each of them. */
  const heardBy: number[] = []
  let published = 0
  let told = 0
  const publish = () => first.broadcast('news', { t: 'n', p: { n: ++published } })
  const returning = clients.map(async (client, user) => {
    const numbers: number[] = []
    client.socket.on('message', (data) => {
      const { t: type, p } = JSON.parse(data.toString()) as Envelope
      if (type === 'server_draining') told += 1
      if (type !== 'n') return
      const n = p.n as number
      numbers.push(n)
      heardAt[n] ??= Date.now()
      heardBy[n] = (heardBy[n] ?? 0) + 1
    })
    const { p, ts } = await client.next('server_draining')
    t.is((await client.closed()).code, 4300)
    const isOwed = (n: number) => n <= BEFORE || (heardAt[n] ?? Number.POSITIVE_INFINITY) < Date.parse(ts)
    let owed = BEFORE
    while (isOwed(owed + 1)) owed += 1
    t.true(numbers.length >= owed, `${numbers.length} came, and ${owed} were published before it was told`)
    t.true(
      numbers.every((n, place) => n === place + 1),
      'in order, once',
    )
    const back = await connect(t, second, withTicket(p.ticket as string))
    t.is(second.getConnectionInfo(back.id)?.userId, `${user}`)
    return owed
  })
  for (let n = 0; n < BEFORE; n++) publish()
  const drained = first.drainConnections({ waves: 5, deadlineMs: 10_000 })
  // The next one when everybody has the last, or was told to leave.
  while (told < users) {
    await until('the last publication', () => told + (heardBy[published] ?? 0) >= users)
    publish()
  }
  await within(drained, 'the end of the drain')
  const owed = await within(Promise.all(returning), 'the return of everyone')
  t.true(Math.max(...owed) > BEFORE, 'later waves are owed more')
  t.is(second.getConnectionCount(), users)
  t.is(asked, users, 'once for each, when they came first')
})

test('refuses a pace that is none, and has nothing to send away before it listens and after it is closed', async (t) => {
  const server = await startServer(t)
  await t.throwsAsync(server.drainConnections({ waves: 0 }), { code: 'WSE_OPTION_INVALID', message: /drain\.waves/ })
  await t.throwsAsync(server.drainConnections({ deadline: 1 } as never), { code: 'WSE_OPTION_UNKNOWN' })
  t.is((await get(server, '/wse/ready')).status, 200)
  await server.close()
  await server.drainConnections()
})

test('gives a slow reader everything before it sends it away, and the rest a Close at the deadline', async (t) => {
  const server = await startServer(t, { outbound: { slowTimeoutMs: 0 } })
  const [slow, stalled] = [await connect(t, server), await connect(t, server)]
  for (const { socket } of [slow, stalled]) socket.pause()
  const padding = 'x'.repeat(20_000)
  for (let n = 0; n < 500; n++) server.broadcastAll(`${n} ${padding}`)
  const drained = server.drainConnections({ waves: 1, deadlineMs: 5_000 })
  slow.socket.resume()
  // What the server itself says may leave before what waits.
  const isOwed = (text: string) => !text.startsWith('{')
  for (let n = 0; n < 500; n++) t.true((await slow.nextText(isOwed)).startsWith(`${n} `))
  t.is((await slow.closed()).code, 4300)
  await within(drained, 'the deadline')
  t.is(server.getConnectionCount(), 0)
})

for (const via of ['auto', 'stream'] as const) {
  test(`asks no hook about who comes back with a ticket, on another instance, ${via}`, async (t) => {
    const asked: AuthenticateRequest[] = []
    const authenticate = (request: AuthenticateRequest) => {
      asked.push(request)
      return { userId: 'anna', claims: { role: 'admin' } }
    }
    const options = { authenticate, tickets: shared }
    const first = await serveOn(t, createServer(), options, { via })
    const second = await serveOn(t, createServer(), options, { via })
    const application = new Application(second.wse)
    const left = await connect(t, first)
    await first.wse.subscribeConnection(left.id, ['room:17'])
    const drained = first.wse.drainConnections({ waves: 1, deadlineMs: 1_000 })
    const ticket = (await left.next('server_draining')).p.ticket as string
    await within(drained, 'the end of the drain')
    for (const page of ['ready', 'health']) t.is((await get(first, `/wse/${page}`)).status, 503)
    const { status, headers } = await refused(t, first)
    t.deepEqual([status, headers['retry-after']], [503, '5'])
    t.is(asked.length, 1)

    const back = await connect(t, second, withTicket(ticket))
    t.is(back.socket.protocol, 'wse.v2')
    t.like(await application.next('auth_connect'), { userId: 'anna', claims: { role: 'admin' } })
    t.deepEqual((await back.subscribe(['room:17'])).success_topics, ['room:17'])
    t.is(asked.length, 1, 'nobody was asked again')
    await connect(t, second, { path: `/wse?ticket=${ticket}` })
    t.is(asked.length, 2, 'in a query it would end up in logs')
    await connect(t, second, withTicket(`${ticket}x`))
    t.is(asked.length, 3, 'a ticket that is not good is none')
  })
}

test('checks no token of who comes back with a ticket, until it is revoked', async (t) => {
  const server = await startServer(t, { jwt: { secret }, tickets: shared, maxConnectionsPerUser: 0 })
  const left = await connect(t, server, { token: await tokenOf('anna') })
  const ticket = await ticketOf(left)
  // A token that no check would pass.
  const over = await tokenOf('anna', { exp: 1 })
  const back = await connect(t, server, { ...withTicket(ticket), token: over })
  t.is(server.getConnectionInfo(back.id)?.userId, 'anna')
  const other = await connect(t, server, { ...withTicket(ticket), token: await tokenOf('ben') })
  t.is(server.getConnectionInfo(other.id)?.userId, 'ben', 'who has logged in since is not who was here before')
  const unsure = await connect(t, server, { ...withTicket('e30.e30'), greeted: false })
  t.is((await unsure.next('error')).p.code, 'AUTH_REQUIRED')
  server.revokeTokens('anna')
  for (const open of [left, back]) t.is(await ticketOf(open), undefined, 'a ban would be good for nothing')
  const revoked = await connect(t, server, { ...withTicket(ticket), greeted: false })
  t.is((await revoked.next('error')).p.code, 'AUTH_REQUIRED')
  const alone = await refused(t, server, { protocols: [`wse.ticket.${ticket}`] })
  t.is(alone.status, 400)
})

test('gives no tickets where they are switched off, and takes none', async (t) => {
  const server = await startServer(t, { jwt: { secret }, tickets: { ...shared, resume: false } })
  const other = await startServer(t, { jwt: { secret }, tickets: shared })
  const token = await tokenOf('anna')
  t.is(await ticketOf(await connect(t, server, { token })), undefined)
  const ticket = await ticketOf(await connect(t, other, { token }))
  const refusedOne = await connect(t, server, { ...withTicket(ticket), greeted: false })
  t.is((await refusedOne.next('error')).p.code, 'AUTH_REQUIRED')
})

test('lets no more in than the door allows, everyone in the end, and disturbs nobody', async (t) => {
  let asked = 0
  const authenticate = () => {
    asked += 1
    return { userId: 'anna' }
  }
  const admission = { perSecond: 100, burst: 100 }
  const began = performance.now()
  const reasons = new Arrivals<unknown>()
  const note = ({ reason }: JsonObject) => reasons.push(reason)
  const logger = { debug: note, info: note, warn: note, error: note }
  const options = { authenticate, admission, logger, maxConnectionsPerUser: 0 }
  const host = await serveOn(t, createServer(), options)
  const healthy = await connect(t, host)
  let attempts = 0
  /** Comes as often as it is told to. */
  const arrive = async (): Promise<void> => {
    for (;;) {
      attempts += 1
      const socket = await openSocket(t, host)
      socket.write(upgradeRequest())
      const { status, headers } = await socket.head()
      if (status === 101) return
      t.is(status, 503)
      const seconds = Number(headers['retry-after'])
      if (!(seconds >= 1 && seconds <= 60)) t.fail(`Retry-After: ${headers['retry-after']}`)
      await new Promise((resolve) => setTimeout(resolve, seconds * 1_000))
    }
  }
  const storm = Promise.all(Array.from({ length: 500 }, arrive))
  await healthy.roundTrip()
  await storm
  await healthy.roundTrip()
  const seconds = (performance.now() - began) / 1_000
  t.is(host.wse.getConnectionCount(), 501)
  t.is(asked, 501, 'the hook hears of those alone who are let in')
  t.true(501 <= admission.burst + admission.perSecond * seconds + 1, 'no more than the bucket holds')
  t.true(attempts > 500)
  await reasons.next('a line of the log', (reason) => reason === 'admission')
})

test('keeps the places of the door for those who have a login', async (t) => {
  const jwt = { secret, queryParameter: true }
  const server = await startServer(t, { jwt, tickets: shared, admission: { perSecond: 1, burst: 3 } })
  const ticket = await ticketOf(await connect(t, server, { token: await tokenOf('anna') }))
  for (let n = 0; n < 10; n++) {
    const stranger = await connect(t, server, { greeted: false })
    t.is((await stranger.next('error')).p.code, 'AUTH_REQUIRED')
    const liar = await connect(t, server, { token: 'no token at all', greeted: false })
    t.is((await liar.next('error')).p.code, 'AUTH_FAILED')
  }
  await connect(t, server, { token: await tokenOf('ben') })
  const back = await connect(t, server, { path: `/wse?ticket=${ticket}` })
  t.is(server.getConnectionInfo(back.id)?.userId, 'anna')
})

test('lets no more in than the door allows on a port of its own', async (t) => {
  const server = await startServer(t, { admission: { perSecond: 1 } })
  const sockets = await Promise.all(Array.from({ length: 40 }, () => openSocket(t, server)))
  for (const socket of sockets) socket.write(upgradeRequest())
  const heads = await Promise.all(sockets.map((socket) => socket.head()))
  t.true(heads.some(({ status }) => status === 101))
  t.true(heads.some(({ status, headers }) => status === 503 && Number(headers['retry-after']) >= 1))
  t.is((await get(server, '/wse/ready')).status, 200, 'probes are not counted')
})

/** A service of one entrance that drains at SIGTERM, and does nothing else about its end. */
const service = (entrance: string, deadlineMs: number) => `
  import { createServer } from 'node:http'
  import { createServer as createTlsServer } from 'node:https'
  import { WseServer } from 'wse-server'
  const tls = ${JSON.stringify(certificate)}
  const authenticate = ({ url }) => url.includes('wait') ? new Promise(() => {}) : { userId: 'anna' }
  const drainOnSigterm = { waves: 2, deadlineMs: ${deadlineMs} }
  const wse = new WseServer({ authenticate, drainOnSigterm, handshakeTimeoutMs: 0, maxConnectionsPerUser: 0 })
  const listen = { host: '127.0.0.1', port: 0 }
  let port
  if ('${entrance}' === 'port') port = (await wse.listen(listen)).port
  else if ('${entrance}' === 'tls') port = (await wse.listen({ ...listen, tls })).port
  else {
    const http = '${entrance}' === 'https' ? createTlsServer(tls) : createServer()
    wse.attach(http, { via: '${entrance}' === 'stream' ? 'stream' : 'auto' })
    await new Promise((resolve) => http.listen(listen, resolve))
    port = http.address().port
  }
  void (async () => { for await (const batch of wse.drain()) for (const { connId, text } of batch) {
    if (text) for (let n = 0; n < 200; n++) wse.send(connId, 'x'.repeat(50_000))
  } })()
  console.log(port)`

for (const entrance of ['port', 'tls', 'router', 'https', 'stream']) {
  test(`ends by itself after SIGTERM, whoever hangs, ${entrance}`, async (t) => {
    const child = runModule(t, service(entrance, 500))
    const isEncrypted = entrance === 'tls' || entrance === 'https'
    const address = { port: Number(await child.nextLine()), ...(isEncrypted && { ca: certificate.cert }) }
    const fine = await connect(t, address)
    // It asks for more than it ever reads.
    const stalled = await connect(t, address)
    stalled.socket.pause()
    stalled.send('more')
    const waiting = await openSocket(t, address)
    waiting.write(upgradeRequest({ path: '/wse?wait' }))
    const isOwn = entrance === 'port' || entrance === 'tls'
    // Node.js waits by itself for those who do not begin TLS.
    const silent = await openSocket(t, entrance === 'https' ? address : { port: address.port })
    const half = await openSocket(t, address)
    // Half a request of a host is the host's to wait for.
    if (isOwn) half.write(upgradeRequest().slice(0, 40))
    await fine.roundTrip()
    child.kill('SIGTERM')
    t.is((await waiting.head()).status, 503)
    t.is((await fine.closed()).code, 4300)
    t.like(await child.exited(), { code: 0, signal: null, errors: '' })
    for (const socket of [silent, half]) await socket.ended()
  })
}

test('ends at once at the second SIGTERM', async (t) => {
  const child = runModule(t, service('port', 3_600_000))
  const port = Number(await child.nextLine())
  const [first, second] = [await connect(t, { port }), await connect(t, { port })]
  child.kill('SIGTERM')
  const told = await Promise.race([first, second].map(async (one) => (await one.next('server_draining')).t))
  t.is(told, 'server_draining')
  child.kill('SIGTERM')
  t.like(await child.exited(), { code: null, signal: 'SIGTERM' })
})

test('closes at once while it drains, and ends whoever waits for the drain', async (t) => {
  const server = await startServer(t)
  const connections = await Promise.all([connect(t, server), connect(t, server)])
  const drained = server.drainConnections({ waves: 1_000, deadlineMs: 3_600_000 })
  await within(server.close(), 'the engine to close')
  await within(drained, 'the drain that was cut short')
  for (const connection of connections) t.true([4300, 1012].includes((await connection.closed()).code))
  t.is(process.listenerCount('SIGTERM'), 0)
})
