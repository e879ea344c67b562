// What memory() says: each number grows with what it counts, and is back where it was when that has gone.
import test from 'ava'
import type { Memory } from 'wse-server'
import { until } from './harness/arrivals.js'
import { connect } from './harness/connect.js'
import { Application, startServer } from './harness/server.js'
import { frameBytes, OP, openUpgraded } from './harness/socket.js'

const KIB = 'x'.repeat(1_024)
const parts = ['outboundBytes', 'logBytes', 'presenceBytes', 'inboundBytes'] as const

/** Which of the parts are not empty; the sum must be theirs. */
function filled(memory: Memory): string[] {
  const sum = parts.reduce((sum, part) => sum + memory[part], 0)
  if (sum !== memory.totalBytes) throw new Error(`the parts are not the whole: ${JSON.stringify(memory)}`)
  return parts.filter((part) => memory[part] > 0)
}

test('counts what waits for a reader, once for all who wait for it', async (t) => {
  const server = await startServer(t, { topics: { allow: ['news'] }, outbound: { slowTimeoutMs: 0 } })
  new Application(server)
  const readers = await Promise.all(Array.from({ length: 3 }, () => connect(t, server)))
  for (const reader of readers) {
    await reader.subscribe(['news'])
    reader.socket.pause()
  }
  // Until the kernel takes no more of any of them.
  let published = 0
  const isStalled = () => readers.every(({ id }) => (server.getConnectionInfo(id)?.waitingBytes ?? 0) > 0)
  await until('full sockets', () => {
    if (isStalled()) return true
    server.broadcast('news', { t: 'news', p: { n: published++, KIB: KIB.repeat(64) } })
    return false
  })
  await until('the shards', () => server.memory().waitingCommands === 0)
  const before = server.memory().outboundBytes
  for (let n = 0; n < 100; n++) server.broadcast('news', { t: 'news', p: { n: published++, KIB } })
  await until('the shards', () => server.memory().waitingCommands === 0)
  await until('the rest to be empty', () => filled(server.memory()).join() === 'outboundBytes')
  const grown = server.memory().outboundBytes - before
  t.true(grown > 100 * 1_024 && grown < 200 * 1_024, `${grown} bytes for 100 KiB that three wait for`)
  for (const reader of readers) reader.socket.resume()
  for (const reader of readers) for (let n = 0; n < published; n++) t.is((await reader.next('news')).p.n, n)
  await until('empty queues', () => server.memory().totalBytes === 0)
})

test('counts logs until they have had their time', async (t) => {
  const server = await startServer(t, { recovery: { topics: ['news'], slots: 64, ttlSeconds: 1 } })
  t.deepEqual(filled(server.memory()), [])
  for (let n = 0; n < 64; n++) server.broadcast('news', { t: 'news', p: { KIB } })
  server.broadcast('other', { t: 'other', p: { KIB } })
  const { logBytes } = server.memory()
  t.true(logBytes > 64 * 1_024 && logBytes < 2 * 64 * 1_024, `${logBytes} bytes for 64 KiB`)
  t.deepEqual(filled(server.memory()), ['logBytes'])
  for (let n = 0; n < 64; n++) server.broadcast('news', { t: 'news', p: { KIB } })
  t.is(server.memory().logBytes, logBytes, 'a log that is full grows no further')
  // What stays is where the topic stands.
  await until('the end of what is kept', () => server.memory().logBytes < 4 * 1_024)
})

test('counts who is present until they leave', async (t) => {
  const authenticate = () => ({ userId: 'anna' })
  const server = await startServer(t, { authenticate, presence: true, topics: { allow: ['room:*'] } })
  new Application(server)
  const connection = await connect(t, server)
  await server.subscribeConnection(connection.id, ['room:1'], { KIB })
  const one = server.memory().presenceBytes
  t.true(one > 1_024)
  await server.subscribeConnection(connection.id, ['room:2'], { KIB })
  t.true(server.memory().presenceBytes > one)
  await until('the rest to be empty', () => filled(server.memory()).join() === 'presenceBytes')
  await connection.close()
  await until('nobody', () => server.memory().totalBytes === 0)
})

test('counts what waits for the application, and what has not come to its end', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  const before = server.memory().inboundBytes
  for (let n = 0; n < 64; n++) connection.send(`${n} ${KIB}`)
  await connection.roundTrip()
  const heard = server.memory().inboundBytes - before
  t.true(heard > 64 * 1_024 && heard < 2 * 64 * 1_024, `${heard} bytes for 64 KiB`)
  t.deepEqual(filled(server.memory()), ['inboundBytes'])
  const application = new Application(server)
  await application.next('raw', ({ text }) => text.startsWith('63 '))
  await until('an empty queue', () => server.memory().totalBytes === 0)
  const half = await openUpgraded(t, server)
  half.write(frameBytes(OP.text, KIB.repeat(32), { fin: false }))
  await until('half a message', () => server.memory().inboundBytes >= 32 * 1_024)
  half.write(frameBytes(OP.continuation, 'end'))
  await application.next('raw', ({ text }) => text.endsWith('end'))
  await until('nothing', () => server.memory().totalBytes === 0)
})
