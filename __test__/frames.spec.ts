import test from 'ava'
import { connect } from './harness/connect.js'
import { Application, startServer } from './harness/server.js'
import { frameBytes, OP, openUpgraded } from './harness/socket.js'

const text = (value: string) => frameBytes(OP.text, value)

const badFrames: [title: string, bytes: Buffer, code: number][] = [
  ['an unmasked frame', frameBytes(OP.text, '{}', { masked: false }), 1002],
  ['the first reserved bit', frameBytes(OP.text, '{}', { reserved: 0x40 }), 1002],
  ['the second reserved bit', frameBytes(OP.text, '{}', { reserved: 0x20 }), 1002],
  ['the third reserved bit', frameBytes(OP.text, '{}', { reserved: 0x10 }), 1002],
  ['a reserved data opcode', frameBytes(3, 'x'), 1002],
  ['a reserved control opcode', frameBytes(11, 'x'), 1002],
  ['a fragmented ping', frameBytes(OP.ping, 'x', { fin: false }), 1002],
  ['an oversize ping', frameBytes(OP.ping, 'x'.repeat(126)), 1002],
  ['a continuation of nothing', frameBytes(OP.continuation, 'x'), 1002],
  [
    'a new message inside an unfinished one',
    Buffer.concat([frameBytes(OP.text, 'a', { fin: false }), text('b')]),
    1002,
  ],
  ['a close with half a code', frameBytes(OP.close, 'x'), 1002],
  ['a close with a code of nobody', frameBytes(OP.close, Buffer.from([0x03, 0xed])), 1002],
  ['a close reason that is no UTF-8', frameBytes(OP.close, Buffer.from([0x03, 0xe8, 0xff])), 1007],
  ['text that is no UTF-8', frameBytes(OP.text, Buffer.from([0x61, 0xc3, 0x28])), 1007],
  ['text with a surrogate', frameBytes(OP.text, Buffer.from([0xed, 0xa0, 0x80])), 1007],
  ['text beyond Unicode', frameBytes(OP.text, Buffer.from([0xf4, 0x90, 0x80, 0x80])), 1007],
  [
    'bad UTF-8 in a fragment, before the message is complete',
    frameBytes(OP.text, Buffer.from([0x61, 0xff]), { fin: false }),
    1007,
  ],
  ['text that ends inside a character', frameBytes(OP.text, Buffer.from([0x61, 0xe2, 0x82])), 1007],
  ['a message over the limit, told by its header alone', frameBytes(OP.text, 'x', { claims: 1_048_577n }), 1009],
  ['a length that no memory holds', frameBytes(OP.binary, 'x', { claims: 0x7fff_ffff_ffff_ffffn }), 1009],
]

for (const [title, bytes, code] of badFrames) {
  test(`closes with ${code} on ${title}, and serves the others`, async (t) => {
    const server = await startServer(t)
    const application = new Application(server)
    const healthy = await connect(t, server)
    await application.next('connect')

    const offender = await openUpgraded(t, server)
    const { connId } = await application.next('connect')
    offender.write(bytes)
    const close = await offender.closeFrame()
    t.is(close.code, code)
    t.not(close.reason, '')
    await offender.ended()
    t.like(await application.next('disconnect'), { connId, code })

    await healthy.roundTrip()
    t.deepEqual(application.waiting, [])
  })
}

test('closes with 1009 when fragments grow past the limit', async (t) => {
  const server = await startServer(t, { maxMessageBytes: 1_000 })
  const healthy = await connect(t, server)
  const offender = await openUpgraded(t, server)
  offender.write(frameBytes(OP.text, 'x'.repeat(600), { fin: false }))
  offender.write(frameBytes(OP.continuation, 'x'.repeat(600), { fin: true }))
  t.is((await offender.closeFrame()).code, 1009)
  await offender.ended()
  await healthy.roundTrip()
})

test('closes with 1009 when there are too many fragments, empty ones counted', async (t) => {
  const server = await startServer(t, { maxFragments: 10 })
  const healthy = await connect(t, server)
  const offender = await openUpgraded(t, server)
  offender.write(frameBytes(OP.text, '', { fin: false }))
  for (let n = 0; n < 10; n++) offender.write(frameBytes(OP.continuation, '', { fin: false }))
  t.is((await offender.closeFrame()).code, 1009)
  await offender.ended()
  await healthy.roundTrip()
})

test('takes a message of exactly the limit', async (t) => {
  const server = await startServer(t)
  const application = new Application(server)
  const connection = await connect(t, server)
  connection.send('x'.repeat(1_048_576))
  const event = await application.next('raw')
  t.is(event.text.length, 1_048_576)
})

test('puts fragments together around the control frames between them, split anywhere', async (t) => {
  const server = await startServer(t)
  const application = new Application(server)
  const socket = await openUpgraded(t, server)
  const bytes = Buffer.concat([
    frameBytes(OP.text, '{"t":"chat","p":{"text":"gr', { fin: false }),
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
})

test('answers a close with the same code and ends the socket', async (t) => {
  const server = await startServer(t)
  const application = new Application(server)
  const socket = await openUpgraded(t, server)
  socket.write(frameBytes(OP.close, Buffer.concat([Buffer.from([0x03, 0xe8]), Buffer.from('bye')])))
  t.is((await socket.closeFrame()).code, 1000)
  await socket.ended()
  t.like(await application.next('disconnect'), { code: 1000, reason: 'bye' })
})

test('tells the application 1006 when a socket just disappears', async (t) => {
  const server = await startServer(t)
  const application = new Application(server)
  const socket = await openUpgraded(t, server)
  const { connId } = await application.next('connect')
  socket.tcp.resetAndDestroy()
  t.like(await application.next('disconnect'), { connId, code: 1006 })
})

test('ignores what comes after a close', async (t) => {
  const server = await startServer(t)
  const application = new Application(server)
  const socket = await openUpgraded(t, server)
  await application.next('connect')
  socket.write(Buffer.concat([frameBytes(OP.close, Buffer.from([0x03, 0xe8])), text('{"t":"late","p":{}}')]))
  await application.next('disconnect')
  t.deepEqual(application.waiting, [])
})
