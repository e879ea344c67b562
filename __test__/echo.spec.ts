import test from 'ava'
import { connect } from './harness/connect.js'
import { startHost } from './harness/host.js'
import { Application, startServer } from './harness/server.js'
import { frameBytes, OP, openUpgraded } from './harness/socket.js'

const MIB = 1 << 20

test('sends each message back as it came, and tells the application nothing', async (t) => {
  const server = await startServer(t, { mode: 'echo' })
  const application = new Application(server)
  const connection = await connect(t, server, { greeted: false })
  for (const text of ['', '漢字', '{"t":"ping","p":{"timestamp":1}}', '{"t":"client_hello"}', 'x'.repeat(2 * MIB)]) {
    connection.send(text)
    t.true((await connection.nextText()) === text)
  }
  const bytes = Buffer.alloc(2 * MIB, 7)
  connection.send(bytes)
  t.true(bytes.equals(await connection.nextBytes()))
  t.is(server.getConnectionCount(), 1)
  t.deepEqual(application.waiting, [])
})

test('sends messages back on the port of a host', async (t) => {
  const host = await startHost(t, { mode: 'echo' })
  const connection = await connect(t, host, { greeted: false })
  connection.send('hello')
  t.is(await connection.nextText(), 'hello')
})

for (const [title, maxMessageBytes, most] of [
  ['of 16 MiB by itself', undefined, 16 * MIB],
  ['as large as its option says', 20 * MIB, 20 * MIB],
] as const) {
  test(`takes messages ${title}`, async (t) => {
    const server = await startServer(t, { mode: 'echo', maxMessageBytes } as never)
    const socket = await openUpgraded(t, server)
    // Just below the limit as far as the header says; one byte more is told by the header, too.
    socket.write(frameBytes(OP.binary, '', { claims: BigInt(most) }))
    const other = await openUpgraded(t, server)
    other.write(frameBytes(OP.binary, '', { claims: BigInt(most) + 1n }))
    t.is((await other.closeFrame()).code, 1009)
    socket.write(Buffer.alloc(most))
    t.is((await socket.next(OP.binary)).payload.length, most)
  })
}

test('loses nothing of a client that sends first and reads later', async (t) => {
  const server = await startServer(t, { mode: 'echo', outbound: { maxMessages: 2, maxBytes: MIB } })
  const socket = await openUpgraded(t, server)
  socket.tcp.pause()
  const count = 64
  for (let n = 0; n < count; n++) socket.write(frameBytes(OP.binary, Buffer.alloc(MIB, n)))
  socket.write(frameBytes(OP.close, Buffer.from([0x03, 0xe8])))
  const other = await connect(t, server, { greeted: false })
  other.send('well?')
  t.is(await other.nextText(), 'well?')
  socket.tcp.resume()
  for (let n = 0; n < count; n++) {
    const { payload } = await socket.next(OP.binary)
    t.true(payload.length === MIB && payload[0] === n)
  }
  t.is((await socket.closeFrame()).code, 1000)
})
