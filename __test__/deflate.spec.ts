import { createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { constants, deflateRawSync, inflateRawSync } from 'node:zlib'
import test, { type ExecutionContext } from 'ava'
import type { ServerOptions } from 'wse-server'
import { hasChromium, launchChromium } from '../examples/trading-desk/chromium.js'
import { until } from './harness/arrivals.js'
import { makeCertificate } from './harness/certificates.js'
import { connect } from './harness/connect.js'
import { serveOn } from './harness/host.js'
import { Application, startServer } from './harness/server.js'
import { type Address, type Frame, frameBytes, OP, openUpgraded, type RawSocket } from './harness/socket.js'

// permessage-deflate (RFC 7692): against the client `ws`, a browser, and frames written by hand with Node's zlib.

const MIB = 1 << 20
/** The reserved bit of a compressed message. */
const COMPRESSED = 0x40
const OFFER = { headers: { 'Sec-WebSocket-Extensions': 'permessage-deflate; client_max_window_bits' } }
const AGREED = 'permessage-deflate; server_no_context_takeover; client_no_context_takeover'
const TAKEOVER = { serverContextTakeover: true, clientContextTakeover: true }

const certificate = await makeCertificate()
const prices = (count: number) => JSON.stringify(Array.from({ length: count }, (_, n) => ({ symbol: `S${n % 7}`, n })))
/** Bytes that nothing compresses, the same in each run. */
const noise = (length: number) => {
  let state = 1
  const next = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state >>> 24
  }
  return Buffer.from(Array.from({ length }, next))
}

/** A message as a client compresses it: without the four bytes at the end of a flush. */
const deflate = (message: string | Uint8Array) =>
  deflateRawSync(message, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4)
const inflate = ({ payload }: Frame) =>
  inflateRawSync(Buffer.concat([payload, Buffer.from([0, 0, 0xff, 0xff])]), {
    finishFlush: constants.Z_SYNC_FLUSH,
  }).toString()
const compressed = (opcode: number, message: string | Uint8Array) =>
  frameBytes(opcode, deflate(message), { reserved: COMPRESSED })

/** A text of the application's; other texts are the engine's. */
async function nextOf(socket: RawSocket, type: string): Promise<Frame & { text: string }> {
  for (;;) {
    const frame = await socket.next(OP.text)
    const text = frame.reserved ? inflate(frame) : frame.payload.toString()
    if (JSON.parse(text).t === type) return { ...frame, text }
  }
}

const servers: [name: string, open: (t: ExecutionContext, options: ServerOptions) => Promise<Address>][] = [
  ['a port of its own', startServer],
  [
    'a port of its own with TLS',
    async (t, options) => {
      const server = await startServer(t, options, certificate)
      return { port: server.port, ca: certificate.cert }
    },
  ],
  ['the port of a host', (t, options) => serveOn(t, createServer(), options)],
  ['streams of a host', (t, options) => serveOn(t, createServer(), options, { via: 'stream' })],
  [
    'the port of a host with TLS',
    async (t, options) => ({ ...(await serveOn(t, createTlsServer(certificate), options)), ca: certificate.cert }),
  ],
]

for (const [name, open] of servers) {
  for (const perMessageDeflate of [true, TAKEOVER]) {
    const kept = perMessageDeflate === true ? 'without' : 'with'
    test(`carries messages of all sizes ${kept} context takeover on ${name}`, async (t) => {
      const server = await open(t, { mode: 'echo', perMessageDeflate })
      const connection = await connect(t, server, { greeted: false, deflate: { threshold: 0 } })
      t.is(connection.socket.extensions, 'permessage-deflate')
      for (let round = 0; round < 2; round++) {
        for (const text of ['', 'a', '漢字', 'x'.repeat(5_000), prices(30), prices(40_000)]) {
          connection.send(text)
          t.true((await connection.nextText()) === text, `${text.length} characters`)
        }
        for (const bytes of [Buffer.alloc(0), Buffer.from('C:not ours'), noise(3), noise(200_000)]) {
          connection.send(bytes)
          t.true(bytes.equals(await connection.nextBytes()), `${bytes.length} bytes`)
        }
      }
      connection.socket.send('ab', { fin: false })
      connection.socket.send('', { fin: false })
      connection.socket.ping('between')
      connection.socket.send('cd', { fin: true })
      t.is((await connection.nextControl('pong')).data.toString(), 'between')
      t.is(await connection.nextText(), 'abcd')
    })
  }
}

test('is agreed on only where the option says so and the offer can be met', async (t) => {
  const without = await startServer(t)
  t.is((await (await openUpgraded(t, without, OFFER)).head()).headers['sec-websocket-extensions'], undefined)
  const server = await startServer(t, { perMessageDeflate: { serverMaxWindowBits: 12, clientMaxWindowBits: 10 } })
  for (const [offer, answer] of [
    ['permessage-deflate', `${AGREED}; server_max_window_bits=12`],
    [
      'x-unknown, permessage-deflate; client_max_window_bits',
      `${AGREED}; server_max_window_bits=12; client_max_window_bits=10`,
    ],
    [
      'permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=9',
      `${AGREED}; server_max_window_bits=9`,
    ],
    ['permessage-deflate; server_max_window_bits=8', undefined],
    ['permessage-deflate; unknown', undefined],
  ] as const) {
    const socket = await openUpgraded(t, server, { headers: { 'Sec-WebSocket-Extensions': offer } })
    t.is((await socket.head()).headers['sec-websocket-extensions'], answer, offer)
  }
})

test('compresses a publication over the threshold once for all, and nothing else', async (t) => {
  const server = await startServer(t, { perMessageDeflate: true, topics: { allow: ['*'] } })
  const plain = await openUpgraded(t, server)
  const [one, other] = [await openUpgraded(t, server, OFFER), await openUpgraded(t, server, OFFER)]
  const small = await openUpgraded(t, server, {
    headers: { 'Sec-WebSocket-Extensions': 'permessage-deflate; server_max_window_bits=9' },
  })
  const ready = await one.next(OP.text)
  t.is(ready.reserved, 0)
  const p = { prices: prices(200) }
  for (const [type, payload] of [
    ['long', p],
    ['short', {}],
  ] as const) {
    server.broadcastAll(JSON.stringify({ t: type, p: payload }))
    const texts = await Promise.all([plain, one, other, small].map((socket) => nextOf(socket, type)))
    t.deepEqual(
      texts.map(({ reserved }) => reserved),
      type === 'long' ? [0, COMPRESSED, COMPRESSED, COMPRESSED] : [0, 0, 0, 0],
    )
    t.is(new Set(texts.map(({ text }) => text)).size, 1)
    t.deepEqual(texts[1]?.payload, texts[2]?.payload)
    if (type === 'long') t.true((texts[1]?.payload.length as number) * 3 < (texts[0]?.payload.length as number))
  }
  const [id = ''] = server.getConnections().slice(1)
  t.true(server.send(id, JSON.stringify({ t: 'own', p })))
  t.is((await nextOf(one, 'own')).reserved, COMPRESSED)
})

test('does not compress again what a client gets as C: message', async (t) => {
  const server = await startServer(t, { perMessageDeflate: true })
  const socket = await openUpgraded(t, server, { ...OFFER, path: '/wse?compression=true' })
  server.broadcastAll(JSON.stringify({ t: 'long', p: { prices: prices(200) } }))
  const frame = await socket.next(OP.binary)
  t.is(frame.payload.toString('latin1', 0, 2), 'C:')
  t.is(frame.reserved, 0)
})

test('refers to earlier messages where that is agreed on, and loses none for a slow reader', async (t) => {
  const server = await startServer(t, { perMessageDeflate: TAKEOVER, outbound: { maxMessages: 100_000 } })
  new Application(server)
  const offer = { clientNoContextTakeover: false, serverNoContextTakeover: false, threshold: 0 }
  const connection = await connect(t, server, { deflate: offer })
  const raw = await openUpgraded(t, server, OFFER)
  t.is((await raw.head()).headers['sec-websocket-extensions'], 'permessage-deflate')
  const blob = noise(3_000).toString('base64')
  server.broadcastAll(JSON.stringify({ t: 'first', p: { blob } }))
  server.broadcastAll(JSON.stringify({ t: 'second', p: { blob } }))
  await connection.next('second')
  await raw.next(OP.text)
  const [first, second] = [await raw.next(OP.text), await raw.next(OP.text)]
  t.true(first.payload.length > 3_000 && second.payload.length < 300)

  connection.socket.pause()
  const count = 3_000
  for (let n = 0; n < count; n++) {
    server.broadcastAll(
      JSON.stringify({
        t: 'n',
        p: {
          n,
          blob: noise(3_000 + n)
            .toString('base64')
            .slice(-3_000),
        },
      }),
    )
    if (n % 100 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  connection.socket.resume()
  for (let n = 0; n < count; n++) t.is((await connection.next('n')).p.n, n)
  await connection.roundTrip()
})

const hostile: [title: string, code: number, frames: Buffer[]][] = [
  ['a bomb of 100 MiB', 1009, [compressed(OP.binary, Buffer.alloc(100 * MIB))]],
  ['a message that inflates to one byte over the limit', 1009, [compressed(OP.text, prices(60_000).slice(0, MIB + 1))]],
  ['a message of a ratio over 200', 1009, [compressed(OP.text, ' '.repeat(100_000))]],
  ['bytes that are no stream', 1007, [frameBytes(OP.text, noise(100).fill(0xff), { reserved: COMPRESSED })]],
  ['a stream that is cut', 1007, [frameBytes(OP.text, deflate(prices(50)).subarray(0, 60), { reserved: COMPRESSED })]],
  ['a compressed text that is not UTF-8', 1007, [compressed(OP.text, Buffer.from('ab\xff', 'latin1'))]],
  [
    'a compressed continuation',
    1002,
    [frameBytes(OP.text, 'a', { fin: false }), frameBytes(OP.continuation, 'b', { reserved: COMPRESSED })],
  ],
  ['a compressed ping', 1002, [frameBytes(OP.ping, deflate('a'), { reserved: COMPRESSED })]],
  ['another reserved bit', 1002, [frameBytes(OP.text, 'a', { reserved: 0x20 })]],
]

for (const [title, code, frames] of hostile) {
  test(`closes ${title} with ${code}, serves the others and gives the memory back`, async (t) => {
    const server = await startServer(t, { perMessageDeflate: true })
    const application = new Application(server)
    const healthy = await connect(t, server, { deflate: { threshold: 0 } })
    const socket = await openUpgraded(t, server, OFFER)
    for (const frame of frames) socket.write(frame)
    await healthy.roundTrip()
    t.is((await socket.closeFrame()).code, code)
    await socket.ended()
    t.is((await application.next('disconnect')).code, code)
    healthy.send({ t: 'chat', p: { prices: prices(100) } })
    t.is((await application.next('msg')).data.t, 'chat')
    await until('the memory is back', () => server.memory().totalBytes === 0)
  })
}

test('refuses a compressed message where nothing was agreed on', async (t) => {
  const server = await startServer(t, { perMessageDeflate: true })
  const socket = await openUpgraded(t, server)
  socket.write(compressed(OP.text, 'a'))
  t.is((await socket.closeFrame()).code, 1002)
})

test('reads no more of a client than the application takes, however much comes out of it', async (t) => {
  const server = await startServer(t, { perMessageDeflate: true })
  const socket = await openUpgraded(t, server, OFFER)
  let release = () => {}
  const isFree = new Promise<void>((resolve) => {
    release = resolve
  })
  const application = new Application(server, isFree)
  const text = (n: number) => `${n} ${' '.repeat(20_000)}`
  const count = 2_000
  for (let n = 0; n < count; n++) socket.write(compressed(OP.text, text(n)))
  const other = await connect(t, server)
  await other.roundTrip()
  t.true(server.memory().inboundBytes < 2 * MIB, `${server.memory().inboundBytes} bytes wait`)
  release()
  for (let n = 0; n < count; n++) t.is((await application.next('raw')).text, text(n))
})

// Without Chromium this test is skipped and listed as such.
const inBrowser = hasChromium() ? test.serial : test.serial.skip

inBrowser('is what a browser agrees on by itself', async (t) => {
  const host = await serveOn(
    t,
    createServer((_, response) => response.setHeader('content-type', 'text/html').end('<!doctype html>')),
    { mode: 'echo', perMessageDeflate: true },
  )
  const browser = await launchChromium()
  t.teardown(() => browser.close())
  const page = await browser.newPage()
  await page.goto(`http://127.0.0.1:${host.port}/`)
  const messages = ['', 'hello', prices(20_000)]
  const heard = await page.evaluate(
    async ({ url, messages }) => {
      const socket = new WebSocket(url)
      const answers: string[] = []
      await new Promise((resolve) => {
        socket.onopen = () => {
          for (const message of messages) socket.send(message)
        }
        socket.onmessage = ({ data }) => answers.push(data) === messages.length && resolve(null)
        socket.onclose = resolve
      })
      return { answers, extensions: socket.extensions }
    },
    { url: `ws://127.0.0.1:${host.port}/wse`, messages },
  )
  t.is(heard.extensions, AGREED)
  t.deepEqual(heard.answers, messages)
})
