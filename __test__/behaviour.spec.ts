// What a client and an application can rely on, whichever way the client came in: one list of behaviours, run over
// the table of entrances.
import { createHash, randomBytes } from 'node:crypto'
import { readdirSync } from 'node:fs'
import test, { type ExecutionContext } from 'ava'
import { gate, until, within } from './harness/arrivals.js'
import { connect, refused } from './harness/connect.js'
import { type Entrance, entrances } from './harness/entrances.js'
import { isClean, offend } from './harness/offence.js'
import { Application } from './harness/server.js'
import { frameBytes, OP, openSocket, openUpgraded, upgradeRequest } from './harness/socket.js'
import { secret, tokenOf } from './harness/tokens.js'

type Behaviour = (t: ExecutionContext, open: Entrance['open']) => Promise<void>

/** The largest message that goes both ways: thirty bytes stay free for a client that asks for encryption. */
const LARGEST = 1_048_576 - 30
const text = (value: string, fin = true) => frameBytes(OP.text, value, { fin })

const behaviours: Record<string, Behaviour> = {
  async 'greets a client, and tells the application who came'(t, open) {
    const service = await open(t)
    const application = new Application(service.wse)
    const headers = { 'x-tab': '7', cookie: 'theme=dark' }
    const connection = await connect(t, service, { path: '/wse?tab=7', headers, protocols: ['wse.v2'] })
    t.is(connection.socket.protocol, 'wse.v2')
    const event = await application.next('connect')
    t.like(event, { connId: connection.id, cookies: 'theme=dark', url: '/wse?tab=7' })
    t.is(event.headers['x-tab'], '7')
    if (service.socketPath === undefined) t.is(event.remoteAddress, '127.0.0.1')
    t.is(service.wse.getConnectionInfo(connection.id)?.remoteAddress, event.remoteAddress)
    await connection.roundTrip()
  },

  async 'carries text in both directions, in order'(t, open) {
    const service = await open(t)
    const application = new Application(service.wse)
    const connection = await connect(t, service)
    const texts = ['', 'x', 'grün 漢字 🎉', '[1,2]', 'y'.repeat(125), 'z'.repeat(65_536), 'a'.repeat(LARGEST)]
    for (const each of texts) connection.send(each)
    for (const each of texts) {
      const event = await application.next('raw')
      t.true(event.text === each)
      t.true(service.wse.send(event.connId, event.text))
    }
    for (const each of texts) t.true((await connection.nextText()) === each)
  },

  async 'carries bytes in both directions, in order'(t, open) {
    const service = await open(t)
    const application = new Application(service.wse)
    const connection = await connect(t, service)
    const all = Buffer.from(Array.from({ length: 256 }, (_, n) => n))
    const messages = [Buffer.alloc(0), all, Buffer.alloc(65_535, 1), randomBytes(LARGEST)]
    for (const each of messages) connection.send(each)
    for (const each of messages) {
      const event = await application.next('bin')
      t.true(each.equals(event.bytes))
      t.true(service.wse.sendBytes(event.connId, event.bytes))
    }
    for (const each of messages) t.true(each.equals(await connection.nextBytes()))
  },

  async 'publishes to those who subscribed'(t, open) {
    const service = await open(t, { topics: { allow: ['news'] } })
    const [reader, other] = [await connect(t, service), await connect(t, service)]
    t.deepEqual((await reader.subscribe(['news', 'secrets'])).failed_topics, ['secrets'])
    for (let n = 0; n < 100; n++) service.wse.broadcast('news', { t: 'news', p: { n } })
    for (let n = 0; n < 100; n++) t.is((await reader.next('news')).p.n, n)
    await other.roundTrip()
    t.deepEqual(other.waiting, [])
  },

  async 'puts fragments together around the control frames between them, split anywhere'(t, open) {
    const service = await open(t)
    const application = new Application(service.wse)
    const socket = await openSocket(t, service)
    const bytes = Buffer.concat([
      Buffer.from(upgradeRequest()),
      text('{"t":"chat","p":{"text":"gr', false),
      frameBytes(OP.ping, 'between'),
      frameBytes(OP.continuation, Buffer.from('ü').subarray(0, 1), { fin: false }),
      frameBytes(OP.continuation, '', { fin: false }),
      frameBytes(OP.continuation, Buffer.concat([Buffer.from('ü').subarray(1), Buffer.from('n"}}')])),
    ])
    for (const byte of bytes) {
      await new Promise<void>((resolve) => socket.tcp.write(Buffer.from([byte]), () => resolve()))
    }
    t.is((await socket.next(OP.pong)).payload.toString(), 'between')
    t.deepEqual((await application.next('msg')).data, { t: 'chat', p: { text: 'grün' } })
  },

  async 'loses no byte that came early, a thousand frames behind the handshake included'(t, open) {
    const service = await open(t)
    const application = new Application(service.wse)
    const frames = Array.from({ length: 1_000 }, (_, n) => text(JSON.stringify({ t: 'early', p: { n } })))
    const socket = await openSocket(t, service)
    socket.write(Buffer.concat([Buffer.from(upgradeRequest()), ...frames]))
    for (let n = 0; n < 1_000; n++) t.like(await application.next('msg'), { data: { p: { n } } })
  },

  async 'loses no byte that came while the application authenticated'(t, open) {
    const [asked, ask] = gate()
    const [decided, decide] = gate()
    const service = await open(t, {
      authenticate: async () => {
        ask()
        await decided
        return { userId: 'anna', claims: { desk: 3 } }
      },
    })
    const application = new Application(service.wse)
    const socket = await openSocket(t, service)
    socket.write(Buffer.concat([Buffer.from(upgradeRequest()), text('first')]))
    await within(asked, 'the authenticate hook')
    for (let n = 0; n < 200; n++) socket.write(text(`${n}`))
    await new Promise((resolve) => setImmediate(resolve))
    decide()
    t.like(await application.next('auth_connect'), { userId: 'anna', claims: { desk: 3 } })
    t.is((await application.next('raw')).text, 'first')
    for (let n = 0; n < 200; n++) t.is((await application.next('raw')).text, `${n}`)
  },

  async 'answers each ping exactly once, and pings a silent client'(t, open) {
    const service = await open(t, { heartbeatIntervalMs: 200, idleTimeoutMs: 60_000 })
    const socket = await openUpgraded(t, service)
    socket.write(Buffer.concat(['once', 'twice', ''].map((each) => frameBytes(OP.ping, each))))
    for (const each of ['once', 'twice', '']) t.is((await socket.next(OP.pong)).payload.toString(), each)
    const ping = await socket.next(OP.ping)
    socket.write(Buffer.concat([frameBytes(OP.pong, ping.payload), frameBytes(OP.ping, 'last')]))
    t.is((await socket.next(OP.pong)).payload.toString(), 'last')
  },

  async 'ends a client that stays silent past the idle limit with 4408'(t, open) {
    const service = await open(t, { heartbeatIntervalMs: 100, idleTimeoutMs: 300 })
    const application = new Application(service.wse)
    const [healthy, silent] = [await connect(t, service), await openUpgraded(t, service)]
    t.is((await silent.closeFrame()).code, 4408)
    silent.write(frameBytes(OP.close, Buffer.from([0x11, 0x38])))
    await silent.ended()
    t.is((await application.next('disconnect')).code, 4408)
    await healthy.roundTrip()
  },

  async 'carries 16 MiB each way intact'(t, open) {
    const service = await open(t, { outbound: { maxMessages: 0, maxBytes: 0 } })
    const application = new Application(service.wse)
    const connection = await connect(t, service)
    const [sent, seen, back] = [createHash('sha256'), createHash('sha256'), createHash('sha256')]
    const count = 64
    for (let n = 0; n < count; n++) {
      const block = randomBytes(1 << 18)
      sent.update(block)
      connection.send(block)
    }
    for (let n = 0; n < count; n++) {
      const { bytes, connId } = await application.next('bin')
      seen.update(bytes)
      service.wse.sendBytes(connId, bytes)
    }
    for (let n = 0; n < count; n++) back.update(await connection.nextBytes())
    const expected = sent.digest('hex')
    t.is(seen.digest('hex'), expected)
    t.is(back.digest('hex'), expected)
  },

  async 'tells a slow reader what it has missed'(t, open) {
    const service = await open(t, { outbound: { maxBytes: 64 * 1024, slowTimeoutMs: 60_000 } })
    const slow = await connect(t, service)
    await service.wse.subscribeConnection(slow.id, ['prices'])
    slow.socket.pause()
    const padding = 'x'.repeat(20_000)
    const count = 1_000
    for (let n = 0; n < count; n++) {
      service.wse.broadcast('prices', { t: 'price', p: { n, padding } })
      if (n % 20 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    await until('the queues to be short', () => service.wse.memory().outboundBytes < 1 << 20)
    slow.socket.resume()
    const gaps = [(await slow.next('gap')).p]
    await slow.roundTrip()
    for (const each of slow.waiting) if (each.includes('"t":"gap"')) gaps.push(JSON.parse(each).p)
    const seen = slow.waiting.filter((each) => each.includes('"t":"price"')).length
    t.true(gaps.every(({ topic }) => topic === 'prices'))
    t.is(
      gaps.reduce((sum, gap) => sum + (gap.count as number), seen),
      count,
    )
  },

  async 'ends a reader that stays too slow with 4503, and serves the others meanwhile'(t, open) {
    const service = await open(t, { outbound: { maxBytes: 64 * 1024, slowTimeoutMs: 200 } })
    const application = new Application(service.wse)
    const [healthy, slow] = [await connect(t, service), await openUpgraded(t, service)]
    await Promise.all(service.wse.getConnections().map((id) => service.wse.subscribeConnection(id, ['prices'])))
    slow.tcp.pause()
    let end: { code: number } | undefined
    const gone = application.next('disconnect').then((event) => {
      end = event
    })
    const padding = 'x'.repeat(20_000)
    for (let n = 0; !end; n++) {
      service.wse.broadcast('prices', { t: 'price', p: { n, padding } })
      t.is((await healthy.next('price')).p.n, n)
    }
    await gone
    t.is(end.code, 4503)
    await healthy.roundTrip()
    await isClean(t, service, 1)
  },

  async 'stalls the sender of a busy application, and loses nothing'(t, open) {
    const service = await open(t, { rateLimit: false, inbound: { maxBytesPerConnection: 64 * 1024 } })
    const [isFree, setFree] = gate()
    const application = new Application(service.wse, isFree)
    const [flooder, healthy] = [await connect(t, service), await connect(t, service)]
    const count = 20_000
    const padding = 'x'.repeat(1_000)
    for (let n = 0; n < count; n++) flooder.send(`${n} ${padding}`)
    for (let n = 0; n < 100; n++) await healthy.roundTrip()
    t.true(flooder.socket.bufferedAmount > 0)
    t.true(service.wse.memory().inboundBytes < 1 << 20)
    setFree()
    for (let n = 0; n < count; n++) {
      const event = await application.next('raw')
      if (!event.text.startsWith(`${n} `)) t.fail(`expected ${n}, got ${event.text.slice(0, 10)}`)
    }
    t.is(service.wse.inboundDroppedCount(), 0)
  },

  async 'closes with a code and a reason on what breaks the protocol or a limit, and serves the others'(t, open) {
    const offences: [bytes: Buffer, code: number][] = [
      [frameBytes(OP.text, '{}', { masked: false }), 1002],
      [frameBytes(OP.text, '{}', { reserved: 0x40 }), 1002],
      [frameBytes(3, 'x'), 1002],
      [frameBytes(OP.ping, 'x', { fin: false }), 1002],
      [frameBytes(OP.continuation, 'x'), 1002],
      [frameBytes(OP.close, Buffer.from([0x03, 0xed])), 1002],
      [frameBytes(OP.text, Buffer.from([0x61, 0xc3, 0x28])), 1007],
      [frameBytes(OP.text, Buffer.from([0x61, 0xff]), { fin: false }), 1007],
      [frameBytes(OP.text, 'x', { claims: 1_001n }), 1009],
      [Buffer.concat([text('x'.repeat(600), false), frameBytes(OP.continuation, 'x'.repeat(600))]), 1009],
      [Buffer.concat([text('', false), ...Array(10).fill(frameBytes(OP.continuation, '', { fin: false }))]), 1009],
    ]
    const service = await open(t, { maxMessageBytes: 1_000, maxFragments: 10 })
    await offend(
      t,
      service,
      offences.map(([bytes, code]) => ({ bytes, code })),
    )
  },

  async 'tells even a client that goes on sending why it is closed'(t, open) {
    const service = await open(t)
    const healthy = await connect(t, service)
    const offender = await openUpgraded(t, service)
    await offender.next(OP.text)
    const flood = frameBytes(OP.binary, Buffer.alloc(1 << 20))
    offender.write(Buffer.concat([frameBytes(OP.text, 'x', { masked: false }), ...Array(8).fill(flood)]))
    t.is((await offender.closeFrame()).code, 1002)
    await offender.ended()
    await healthy.roundTrip()
  },

  async 'ends with the code of whoever closes first'(t, open) {
    const service = await open(t)
    const application = new Application(service.wse)
    const byClient = await openUpgraded(t, service)
    byClient.write(
      Buffer.concat([
        frameBytes(OP.close, Buffer.concat([Buffer.from([0x0f, 0xa1]), Buffer.from('bye')])),
        text('late'),
      ]),
    )
    t.is((await byClient.closeFrame()).code, 4001)
    await byClient.ended()
    t.like(await application.next('disconnect'), { code: 4001, reason: 'bye' })

    const byServer = await connect(t, service)
    service.wse.send(byServer.id, 'the last word')
    t.true(service.wse.disconnect(byServer.id, 4002, 'enough'))
    t.deepEqual(await byServer.closed(), { code: 4002, reason: 'enough' })
    t.is(await byServer.nextText(), 'the last word')
    t.like(await application.next('disconnect'), { connId: byServer.id, code: 4002 })
    t.deepEqual(
      application.waiting.map(({ type }) => type),
      ['connect', 'connect'],
    )
  },

  async 'hands over what a client sent before it closed its half, and then ends it'(t, open) {
    const service = await open(t)
    const application = new Application(service.wse)
    const socket = await openSocket(t, service)
    socket.tcp.end(Buffer.concat([Buffer.from(upgradeRequest()), text('one'), text('two')]))
    t.is((await application.next('raw')).text, 'one')
    t.is((await application.next('raw')).text, 'two')
    t.is((await application.next('disconnect')).code, 1006)
    await socket.ended()
  },

  async 'lives through a client that is cut off in the middle of any step'(t, open) {
    const service = await open(t)
    const application = new Application(service.wse)
    const healthy = await connect(t, service)
    await application.next('connect')
    const request = upgradeRequest()
    const message = text('{"t":"chat","p":{}}')
    for (const bytes of ['', request.slice(0, 20), request.slice(0, -2), request]) {
      const socket = await openSocket(t, service)
      await new Promise<void>((resolve) => socket.tcp.write(bytes, () => resolve()))
      socket.cut()
      await socket.ended()
    }
    for (const bytes of [message.subarray(0, 1), message.subarray(0, 9), text('x', false), frameBytes(OP.close)]) {
      const socket = await openUpgraded(t, service)
      await socket.next(OP.text)
      await new Promise<void>((resolve) => socket.tcp.write(bytes, () => resolve()))
      socket.cut()
      await socket.ended()
    }
    // Each that was seen to come is seen to go: four surely, the one that was cut behind its request perhaps.
    const come = () => application.waiting.filter(({ type }) => type === 'connect').length
    for (let gone = 0; gone < 4 || gone < come(); gone++) await application.next('disconnect')
    await healthy.roundTrip()
    t.is(service.wse.getConnectionCount(), 1)
  },

  async 'refuses who may not come in, and serves the others'(t, open) {
    const service = await open(t, { jwt: { secret }, allowedOrigins: ['https://app.example'], maxConnections: 8 })
    const token = await tokenOf('anna')
    const healthy = await connect(t, service, { token })
    for (const [bad, code] of [
      [undefined, 'AUTH_REQUIRED'],
      ['nonsense', 'AUTH_FAILED'],
    ] as const) {
      const offender = await connect(t, service, { ...(bad && { token: bad }), greeted: false })
      t.is((await offender.next('error')).p.code, code)
      t.is((await offender.closed()).code, 4401)
    }
    t.is((await refused(t, service, { token, headers: { origin: 'https://evil.example' } })).status, 403)
    t.is((await refused(t, service, { token, path: '/other' })).status, 404)
    for (const [request, status] of [
      [upgradeRequest({ headers: { 'Sec-WebSocket-Version': '8' } }), 426],
      [upgradeRequest({ headers: { 'Sec-WebSocket-Key': undefined } }), 400],
      [upgradeRequest({ method: 'POST' }), 405],
    ] as const) {
      const socket = await openSocket(t, service)
      socket.write(request)
      t.is((await socket.head()).status, status)
      await socket.ended()
    }
    await (await connect(t, service, { token, headers: { origin: 'https://app.example' } })).roundTrip()
    await healthy.roundTrip()
  },

  async 'ends who speaks another protocol, and serves the others'(t, open) {
    const { ca, ...service } = await open(t)
    const encrypted = ca === undefined ? service : { ...service, ca }
    const healthy = await connect(t, encrypted)
    const hello = Buffer.from('16030100450100004103030000000000000000000000000000000000', 'hex')
    for (const garbage of [ca === undefined ? hello : upgradeRequest(), randomBytes(4_096)]) {
      const socket = await openSocket(t, service)
      socket.write(garbage)
      await socket.ended()
      await healthy.roundTrip()
    }
    await (await connect(t, encrypted)).roundTrip()
  },

  async 'answers 503 when it is full, and lets the next one in when there is room'(t, open) {
    const service = await open(t, { maxConnections: 1 })
    const application = new Application(service.wse)
    const first = await connect(t, service)
    const { status, headers } = await refused(t, service)
    t.is(status, 503)
    t.true(Number(headers['retry-after']) > 0)
    await first.close()
    await application.next('disconnect')
    await (await connect(t, service)).roundTrip()
  },

  async 'refuses whom the authenticate hook does not know, fails over, or makes wait too long'(t, open) {
    const service = await open(t, {
      handshakeTimeoutMs: 200,
      authenticate: ({ headers, url }) => {
        if (url.includes('throw')) throw new Error('no database')
        if (url.includes('wait')) return new Promise(() => {})
        return headers['x-user'] ? { userId: headers['x-user'], claims: {} } : null
      },
    })
    for (const path of ['/wse', '/wse?throw', '/wse?wait']) {
      const offender = await connect(t, service, { path, greeted: false })
      t.is((await offender.next('error')).p.code, 'AUTH_FAILED')
      t.is((await offender.closed()).code, 4401)
    }
    await (await connect(t, service, { headers: { 'x-user': 'ben' } })).roundTrip()
  },

  async 'is plain WebSocket without envelopes'(t, open) {
    const service = await open(t, { envelope: false })
    const application = new Application(service.wse)
    const connection = await connect(t, service, { greeted: false })
    connection.send('{"t":"ping"}')
    const event = await application.next('msg')
    service.wse.send(event.connId, event.text)
    t.is(await connection.nextText(), '{"t":"ping"}')
    t.deepEqual(connection.waiting, [])
  },

  async 'tells everyone when it closes, and leaves a host that can close too'(t, open) {
    const service = await open(t)
    const [connection, stalled] = [await connect(t, service), await connect(t, service)]
    stalled.socket.pause()
    service.wse.broadcastAll('the last word')
    await within(service.wse.close(), 'the engine to close')
    t.is(await connection.nextText(), 'the last word')
    t.is((await connection.closed()).code, 1012)
    const { http } = service
    if (http) await within(new Promise((resolve) => http.close(resolve)), 'the host to close')
    t.false(service.wse.isRunning())
  },

  async 'closes when everyone has left, with no timer of its own that is due'(t, open) {
    const service = await open(t, { handshakeTimeoutMs: 0, heartbeatIntervalMs: 0, idleTimeoutMs: 0 })
    const application = new Application(service.wse)
    await (await connect(t, service)).close()
    await application.next('disconnect')
    await within(service.wse.close(), 'the engine to close')
    t.false(service.wse.isRunning())
  },

  async 'has its descriptors back when clients have come and gone'(t, open) {
    const service = await open(t)
    const application = new Application(service.wse)
    const comeAndGo = async () => {
      for (let n = 0; n < 30; n++) {
        const socket = await openUpgraded(t, service)
        if (n % 3 === 0) socket.cut()
        else if (n % 3 === 1) socket.tcp.end()
        else socket.write(frameBytes(OP.close, Buffer.from([0x03, 0xe8])))
        await socket.ended()
        await application.next('disconnect')
      }
      await (await connect(t, service)).close()
      await application.next('disconnect')
      return readdirSync('/proc/self/fd').length
    }
    const before = await comeAndGo()
    t.true((await comeAndGo()) <= before)
  },
}

for (const entrance of entrances) {
  for (const [title, behaviour] of Object.entries(behaviours)) {
    test.serial(`${title}, ${entrance.name}`, (t) => behaviour(t, entrance.open))
  }
}
