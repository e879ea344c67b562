import test from 'ava'
import { connect, refused } from './harness/connect.js'
import { Application, startServer } from './harness/server.js'
import { openSocket, upgradeRequest } from './harness/socket.js'
import { secret, tokenOf } from './harness/tokens.js'

test('answers the key of the RFC with its accept value', async (t) => {
  const server = await startServer(t)
  const socket = await openSocket(t, server)
  socket.write(upgradeRequest({ headers: { 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==' } }))
  const { status, headers } = await socket.head()
  t.is(status, 101)
  t.is(headers['sec-websocket-accept'], 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=')
  t.is(headers.upgrade?.toLowerCase(), 'websocket')
  t.is(headers.connection?.toLowerCase(), 'upgrade')
  t.is(headers['sec-websocket-extensions'], undefined)
})

test('greets with server_ready before anything else', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  const connection = await connect(t, server, { token: await tokenOf('anna'), greeted: false })
  const ready = JSON.parse(await connection.nextText())
  t.is(ready.t, 'server_ready')
  t.is(ready.v, 2)
  t.is(ready._msg_cat, 'WSE')
  t.is(ready.p.details.user_id, 'anna')
  t.regex(ready.p.details.connection_id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  for (const there of ['rust_transport', 'priority_queue']) t.is(ready.p.details.features[there], true, there)
  for (const later of ['recovery', 'circuit_breaker']) t.is(ready.p.details.features[later], false, later)
})

test('answers each client_hello with a server_hello of integers', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  for (let round = 0; round < 2; round++) {
    connection.send({ t: 'client_hello', p: { client_version: '1.0', protocol_version: 2, features: {} } })
    const { p } = await connection.next('server_hello')
    t.is(p.connection_id, connection.id)
    t.is(p.protocol_version, 2)
    t.true(Number.isInteger(p.ping_interval) && (p.ping_interval as number) > 0)
    for (const limit of Object.values(p.limits as object)) t.true(Number.isInteger(limit))
  }
})

const badRequests: [title: string, request: string, status: number][] = [
  ['another path', upgradeRequest({ path: '/other' }), 404],
  ['a path that only begins like ours', upgradeRequest({ path: '/wsevil' }), 404],
  ['another version', upgradeRequest({ headers: { 'Sec-WebSocket-Version': '8' } }), 426],
  ['another method', upgradeRequest({ method: 'POST' }), 405],
  ['HTTP/1.0', upgradeRequest({ version: '1.0' }), 400],
  ['a missing key', upgradeRequest({ headers: { 'Sec-WebSocket-Key': undefined } }), 400],
  ['a key of the wrong size', upgradeRequest({ headers: { 'Sec-WebSocket-Key': 'c2hvcnQ=' } }), 400],
  ['a missing Upgrade', upgradeRequest({ headers: { Upgrade: undefined } }), 426],
  ['a Connection without upgrade', upgradeRequest({ headers: { Connection: 'keep-alive' } }), 426],
  ['a missing Host', upgradeRequest({ headers: { Host: undefined } }), 400],
  ['an oversize head', upgradeRequest({ headers: { 'X-Long': 'x'.repeat(17 * 1024) } }), 431],
  [
    'more than a hundred headers',
    upgradeRequest({ headers: Object.fromEntries(Array.from({ length: 101 }, (_, n) => [`X-${n}`, 'x'])) }),
    431,
  ],
  ['no HTTP at all', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n', 400],
]

for (const [title, request, status] of badRequests) {
  test(`refuses ${title}, ends that socket and serves the others`, async (t) => {
    const server = await startServer(t)
    const application = new Application(server)
    const healthy = await connect(t, server)
    await application.next('connect')
    const socket = await openSocket(t, server)
    socket.write(request)
    t.is((await socket.head()).status, status)
    await socket.ended()
    await healthy.roundTrip()
    t.deepEqual(application.waiting, [])
    t.is(server.getConnectionCount(), 1)
  })
}

test('names the version that it speaks when another was asked for', async (t) => {
  const server = await startServer(t)
  const socket = await openSocket(t, server)
  socket.write(upgradeRequest({ headers: { 'Sec-WebSocket-Version': '8' } }))
  t.is((await socket.head()).headers['sec-websocket-version'], '13')
})

test('ends a head that drips past the handshake time and serves the others', async (t) => {
  const server = await startServer(t, { handshakeTimeoutMs: 300 })
  const healthy = await connect(t, server)
  const socket = await openSocket(t, server)
  socket.write('GET /wse HTTP/1.1\r\n')
  const drip = setInterval(() => socket.write('X: y\r\n'), 20)
  t.teardown(() => clearInterval(drip))
  await socket.ended()
  await healthy.roundTrip()
})

test('ends sockets that say nothing within the handshake time', async (t) => {
  const server = await startServer(t, { handshakeTimeoutMs: 200 })
  const silent = await Promise.all(Array.from({ length: 20 }, () => openSocket(t, server)))
  await Promise.all(silent.map((socket) => socket.ended()))
  await (await connect(t, server)).roundTrip()
})

test('drops the oldest half-open socket when there are too many, so that a good client still gets in', async (t) => {
  const server = await startServer(t, { maxHandshakes: 8 })
  const oldest = await openSocket(t, server)
  oldest.write('GET /wse HTTP/1.1\r\n')
  const others = await Promise.all(Array.from({ length: 16 }, () => openSocket(t, server)))
  for (const socket of others) socket.write('GET /wse HTTP/1.1\r\n')
  await oldest.ended()
  await (await connect(t, server)).roundTrip()
})

test('counts half-open sockets of one address when asked to', async (t) => {
  const server = await startServer(t, { maxHandshakesPerAddress: 2 })
  const oldest = await openSocket(t, server)
  oldest.write('GET /wse HTTP/1.1\r\n')
  const others = await Promise.all(Array.from({ length: 4 }, () => openSocket(t, server)))
  for (const socket of others) socket.write('GET /wse HTTP/1.1\r\n')
  await oldest.ended()
  await (await connect(t, server)).roundTrip()
})

for (const origin of ['https://evil.example', 'null', 'http://127.0.0.1.evil.example']) {
  test(`refuses the cookie of a page from ${origin} and names the option`, async (t) => {
    const server = await startServer(t, { jwt: { secret } })
    const token = await tokenOf('anna')
    const healthy = await connect(t, server, { token })
    const answer = await refused(t, server, { headers: { cookie: `access_token=${token}`, origin } })
    t.is(answer.status, 403)
    t.regex(answer.body, /allowedOrigins/)
    await healthy.roundTrip()
  })
}

test('takes the cookie of a page from the same host on another port', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  const cookie = `theme=dark; access_token=${await tokenOf('anna')}`
  const connection = await connect(t, server, { headers: { cookie, origin: 'http://127.0.0.1:5173' } })
  await connection.roundTrip()
})

test('takes any origin where no cookie is sent', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  const headers = { origin: 'https://elsewhere.example' }
  await (await connect(t, server, { token: await tokenOf('anna'), headers })).roundTrip()
})

test('lets the allow-list of origins decide alone', async (t) => {
  const server = await startServer(t, { allowedOrigins: ['https://app.example'] })
  await (await connect(t, server, { headers: { origin: 'https://app.example' } })).roundTrip()
  t.is((await refused(t, server, { headers: { origin: 'https://evil.example' } })).status, 403)
})

test('answers the subprotocol that was offered', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server, { protocols: ['wse.v2'] })
  t.is(connection.socket.protocol, 'wse.v2')
})

test('takes a token from the subprotocol and never echoes it', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  const protocols = [`wse.token.${await tokenOf('anna')}`, 'wse.v2']
  const connection = await connect(t, server, { protocols, greeted: false })
  t.is(connection.socket.protocol, 'wse.v2')
  const { p } = await connection.next('server_ready')
  t.is((p.details as { user_id: string }).user_id, 'anna')
})

test('refuses a token that is the only subprotocol and says what to offer beside it', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  const answer = await refused(t, server, { protocols: [`wse.token.${await tokenOf('anna')}`] })
  t.is(answer.status, 400)
  t.regex(answer.body, /wse\.v2/)
})

test('serves its own path with a query, and another path when the option names it', async (t) => {
  const server = await startServer(t, { path: '/live/events' })
  await (await connect(t, server, { path: '/live/events?client_version=1' })).roundTrip()
  t.is((await refused(t, server)).status, 404)
})
