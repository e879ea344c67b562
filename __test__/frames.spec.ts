import test from 'ava'
import { connect } from './harness/connect.js'
import { offend } from './harness/offence.js'
import { Application, startServer } from './harness/server.js'
import { frameBytes, OP } from './harness/socket.js'

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
    await offend(t, { wse: server, port: server.port }, [[bytes, code]])
  })
}

test('takes a message of exactly the limit', async (t) => {
  const server = await startServer(t)
  const application = new Application(server)
  const connection = await connect(t, server)
  connection.send('x'.repeat(1_048_576))
  const event = await application.next('raw')
  t.is(event.text.length, 1_048_576)
})
