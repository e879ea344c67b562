import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { get as getOverTls } from 'node:https'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls'
import test, { type ExecutionContext } from 'ava'
import { type JsonObject, type ServerOptions, type TlsOptions, WseServer } from 'wse-server'
import { Arrivals, within } from './harness/arrivals.js'
import { makeCertificate } from './harness/certificates.js'
import { connect } from './harness/connect.js'
import { startServer } from './harness/server.js'
import { openSocket } from './harness/socket.js'

const first = await makeCertificate()
const second = await makeCertificate()
const expired = await makeCertificate({ from: -10, to: -1 })
const future = await makeCertificate({ from: 1, to: 10 })

async function startTls(t: ExecutionContext, tls: TlsOptions = first, options: ServerOptions = {}) {
  const server = new WseServer(options)
  t.teardown(() => server.close())
  const { port } = await server.listen({ host: '127.0.0.1', port: 0, tls })
  return Object.assign(server, { port, ca: first.cert })
}

/** A TLS session with the port, whoever it says that it is. */
async function session(t: ExecutionContext, port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options })
  t.teardown(() => socket.destroy())
  await within(once(socket, 'secureConnect'), 'a session')
  return socket
}

const fingerprintOf = async (t: ExecutionContext, port: number) =>
  (await session(t, port)).getPeerCertificate().fingerprint256

const fingerprints = async (t: ExecutionContext) => {
  const [one, other] = await Promise.all([first, second].map((pem) => startTls(t, pem)))
  return { one: await fingerprintOf(t, one?.port ?? 0), other: await fingerprintOf(t, other?.port ?? 0) }
}

test('agrees on http/1.1 with a client that could do more', async (t) => {
  const server = await startTls(t)
  t.is((await session(t, server.port, { ALPNProtocols: ['h2', 'http/1.1'] })).alpnProtocol, 'http/1.1')
  t.is((await session(t, server.port)).alpnProtocol, false)
})

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`speaks ${version}`, async (t) => {
    const server = await startTls(t)
    const socket = await session(t, server.port, { minVersion: version, maxVersion: version })
    t.is(socket.getProtocol(), version)
  })
}

test('refuses the versions of TLS that are broken', async (t) => {
  const server = await startTls(t)
  await t.throwsAsync(
    session(t, server.port, { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL@SECLEVEL=0' }),
  )
  await (await connect(t, server)).roundTrip()
})

test('serves its health over TLS', async (t) => {
  const server = await startTls(t)
  const response = getOverTls({ host: '127.0.0.1', port: server.port, path: '/wse/health', ca: first.cert })
  const [answer] = await within(once(response, 'response'), 'an answer')
  t.is(answer.statusCode, 200)
  answer.resume()
})

test('gives newcomers another certificate and leaves connections as they are', async (t) => {
  const { one, other } = await fingerprints(t)
  const server = await startTls(t)
  const connection = await connect(t, server)
  t.is(await fingerprintOf(t, server.port), one)
  await server.setTls(second)
  t.is(await fingerprintOf(t, server.port), other)
  await connection.roundTrip()
})

test('resumes a session, also when the certificate has changed since', async (t) => {
  const server = await startTls(t)
  const isResumed = async (held: Buffer) => (await session(t, server.port, { session: held })).isSessionReused()
  t.true(await isResumed(await ticketOf(t, server.port)))
  const held = await ticketOf(t, server.port)
  await server.setTls(second)
  t.true(await isResumed(held))
})

/** What a client comes back with: TLS 1.3 sends it behind the handshake. */
async function ticketOf(t: ExecutionContext, port: number): Promise<Buffer> {
  const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false })
  t.teardown(() => socket.destroy())
  const [ticket] = await within(once(socket, 'session'), 'a ticket')
  return ticket as Buffer
}

for (const [name, pem, reason] of [
  ['is expired', expired, /expired on .*: renew it/],
  ['is not valid yet', future, /is valid from/],
  ['belongs to another key', { cert: first.cert, key: second.key }, /key/i],
  ['is no PEM', { cert: 'paper', key: first.key }, /PEM/],
  ['has a key that is none', { cert: first.cert, key: first.cert }, /key/],
  ['is in a file that is not there', { certFile: '/nowhere/cert.pem', keyFile: '/nowhere/key.pem' }, /nowhere/],
] as const) {
  test(`refuses a certificate that ${name}, at first and at a reload`, async (t) => {
    const fresh = new WseServer()
    t.teardown(() => fresh.close())
    const error = await t.throwsAsync(fresh.listen({ host: '127.0.0.1', port: 0, tls: pem }), {
      code: 'WSE_TLS_INVALID',
    })
    t.regex(error?.message ?? '', reason)
    t.false(fresh.isRunning())

    const server = await startTls(t)
    const before = await fingerprintOf(t, server.port)
    await t.throwsAsync(server.setTls(pem), { code: 'WSE_TLS_INVALID' })
    t.is(await fingerprintOf(t, server.port), before)
  })
}

test('takes no certificate where it speaks plain HTTP', async (t) => {
  const server = await startServer(t)
  await t.throwsAsync(server.setTls(first), { code: 'WSE_OPTION_INVALID' })
  await (await connect(t, server)).roundTrip()
})

test('reads its files again when they change, and keeps what it has when they are bad', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'wse-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const files = { certFile: join(folder, 'cert.pem'), keyFile: join(folder, 'key.pem') }
  const write = (pem: { cert: string; key: string }) => {
    writeFileSync(files.certFile, pem.cert)
    writeFileSync(files.keyFile, pem.key)
  }
  write(first)
  const lines = new Arrivals<JsonObject>()
  const logger = { debug() {}, info() {}, warn() {}, error: (line: JsonObject) => lines.push(line) }
  const server = await startTls(t, files, { logger })
  const connection = await connect(t, server)
  const { one, other } = await fingerprints(t)

  write(expired)
  t.is((await lines.next('the fault of the reload')).code, 'WSE_TLS_INVALID')
  t.is(await fingerprintOf(t, server.port), one)

  write(second)
  const until = Date.now() + 20_000
  while ((await fingerprintOf(t, server.port)) !== other) t.true(Date.now() < until, 'the new certificate is in force')
  await connection.roundTrip()
})

test('tells a client that speaks plain HTTP to use TLS, and serves the others', async (t) => {
  const server = await startTls(t)
  const healthy = await connect(t, server)
  const socket = await openSocket(t, { port: server.port })
  socket.write('GET /wse HTTP/1.1\r\nHost: localhost\r\n\r\n')
  t.is((await socket.head()).status, 400)
  await socket.ended()
  t.regex(socket.rest.toString(), /TLS/)
  await healthy.roundTrip()
})

test('refuses TLS on a plain port, and serves the others', async (t) => {
  const server = await startServer(t)
  const healthy = await connect(t, server)
  await t.throwsAsync(session(t, server.port))
  await healthy.roundTrip()
})

test('ends who sends garbage, or nothing, or half a handshake, and serves the others', async (t) => {
  const server = await startTls(t, first, { handshakeTimeoutMs: 300 })
  const healthy = await connect(t, server)
  const hello = Buffer.from('160301', 'hex')
  for (const bytes of [
    Buffer.alloc(2_000, 0xfe),
    Buffer.concat([hello, Buffer.from([0x40, 0x00]), Buffer.alloc(100)]),
    hello,
    Buffer.alloc(0),
  ]) {
    const socket = await openSocket(t, { port: server.port })
    socket.write(bytes)
    await socket.ended()
  }
  await healthy.roundTrip()
})

test('lives through clients that reset at every step of the handshake', async (t) => {
  const server = await startTls(t)
  const healthy = await connect(t, server)
  const hello = await clientHello(t)
  for (let step = 0; step <= 10; step++) {
    const socket = await openSocket(t, { port: server.port })
    socket.write(hello.subarray(0, Math.ceil((hello.length * step) / 10)))
    const closed = once(socket.tcp, 'close')
    socket.tcp.resetAndDestroy()
    await within(closed, 'the reset')
  }
  await healthy.roundTrip()
})

/** The first bytes of a client, caught by a server that says nothing. */
async function clientHello(t: ExecutionContext): Promise<Buffer> {
  const trap = createServer().listen(0, '127.0.0.1')
  t.teardown(() => trap.close())
  await within(once(trap, 'listening'), 'the trap')
  const client = connectTls({ host: '127.0.0.1', port: (trap.address() as AddressInfo).port })
  // It is cut off, and says so.
  client.on('error', () => {})
  t.teardown(() => client.destroy())
  const [socket] = (await within(once(trap, 'connection'), 'the client')) as [Socket]
  const [hello] = await within(once(socket, 'data'), 'its first bytes')
  return hello as Buffer
}

test('closes while a handshake is under way', async (t) => {
  const server = await startTls(t)
  const socket = await openSocket(t, { port: server.port })
  socket.write(Buffer.from('16030100', 'hex'))
  await (await connect(t, server)).roundTrip()
  await within(server.close(), 'the close')
  await socket.ended()
})
