import test from 'ava'
import { gate, within } from './harness/arrivals.js'
import { connect } from './harness/connect.js'
import { FLOOD, turnsDuringFlood } from './harness/flood.js'
import { Application, startServer } from './harness/server.js'

test('hands over single events, in the order of the connection, until the server has closed', async (t) => {
  const server = await startServer(t)
  const seen = (async () => {
    const texts: string[] = []
    for await (const event of server.events()) texts.push(event.type === 'raw' ? event.text : event.type)
    return texts
  })()
  const connection = await connect(t, server)
  for (let n = 0; n < 100; n++) connection.send(String(n))
  await connection.roundTrip()
  await server.close()
  const numbers = Array.from({ length: 100 }, (_, n) => String(n))
  t.deepEqual(await within(seen, 'the end of the loop'), ['connect', ...numbers, 'disconnect'])
})

test('keeps what a loop has not reached for the next one', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  for (let n = 0; n < 100; n++) connection.send(String(n))
  await connection.roundTrip()
  const seen: string[] = []
  const look = async (until: string) => {
    for await (const event of server.events()) {
      if (event.type === 'raw') seen.push(event.text)
      if (event.type === 'raw' && event.text === until) break
    }
  }
  await within(look('30'), 'the first loop')
  await within(look('31'), 'the second loop')
  const application = new Application(server)
  for (let n = 32; n < 100; n++) t.is((await application.next('raw')).text, String(n))
  t.deepEqual(
    seen,
    Array.from({ length: 32 }, (_, n) => String(n)),
  )
})

test('ends for who waits when it is given up, and leaves the events to others', async (t) => {
  const server = await startServer(t)
  const events = server.events()
  const pending = events.next()
  await events.return?.()
  t.true((await within(pending, 'the end of the iterator')).done)
  t.notThrows(() => server.setCallbacks({}))
})

test('answers calls that come while one waits in their order', async (t) => {
  const server = await startServer(t)
  const events = server.events()
  const all = Array.from({ length: 4 }, () => events.next())
  const connection = await connect(t, server)
  for (let n = 0; n < 4; n++) connection.send(String(n))
  const seen = await within(Promise.all(all), 'four events')
  t.deepEqual(
    seen.map(({ value }) => (value?.type === 'raw' ? value.text : value?.type)),
    ['connect', '0', '1', '2'],
  )
  t.is((await events.next()).value?.type, 'raw')
})

test('keeps the event that came for an iterator which was given up meanwhile', async (t) => {
  const server = await startServer(t, { inbound: { maxBytes: 4_096, maxBytesPerConnection: 1_024 } })
  const events = server.events()
  const pending = events.next()
  await events.return?.()
  const connection = await connect(t, server)
  t.true((await within(pending, 'the end of the iterator')).done)
  t.true((await events.next()).done)
  for (let n = 0; n < 50; n++) connection.send('x'.repeat(500))
  await connection.roundTrip()
  t.true(server.inboundDroppedCount() > 0)
  t.is((await new Application(server).next('connect')).connId, connection.id)
})

test('slows the sender down while the loop is busy with one event', async (t) => {
  const server = await startServer(t, { rateLimit: false, inbound: { maxBytesPerConnection: 64 * 1024 } })
  const [isFree, setFree] = gate()
  const count = 20_000
  const seen = (async () => {
    let next = 0
    for await (const event of server.events()) {
      await isFree
      if (event.type === 'raw' && event.text.startsWith(`${next} `)) next += 1
      if (next === count) return next
    }
    return next
  })()
  const [flooder, other] = [await connect(t, server), await connect(t, server)]
  const padding = 'x'.repeat(1_000)
  for (let n = 0; n < count; n++) flooder.send(`${n} ${padding}`)
  for (let n = 0; n < 100; n++) await other.roundTrip()
  t.true(flooder.socket.bufferedAmount > 0)
  setFree()
  t.is(await within(seen, 'every message in order'), count)
  t.is(server.inboundDroppedCount(), 0)
})

test('leaves nobody draining when the loop is left', async (t) => {
  const server = await startServer(t, { inbound: { maxBytes: 4_096, maxBytesPerConnection: 1_024 } })
  const connection = await connect(t, server)
  const first = (async () => {
    for await (const event of server.events()) return event.type
    return undefined
  })()
  t.is(await within(first, 'the first event'), 'connect')
  for (let n = 0; n < 50; n++) connection.send('x'.repeat(500))
  await connection.roundTrip()
  t.true(server.inboundDroppedCount() > 0)
})

test('is one consumer: a second call is refused while it waits, and the loop goes on', async (t) => {
  const server = await startServer(t)
  const texts: string[] = []
  const loop = (async () => {
    for await (const event of server.events()) {
      if (event.type === 'raw') texts.push(event.text)
      if (event.type === 'disconnect') return
    }
  })()
  await t.throwsAsync(server.events().next(), { code: 'WSE_DRAIN_BUSY' })
  await t.throwsAsync(server.drainInbound(), { code: 'WSE_DRAIN_BUSY' })
  const connection = await connect(t, server)
  connection.send('a')
  await connection.close()
  await within(loop, 'the loop')
  t.deepEqual(texts, ['a'])
})

test('lets the host work while single events pour in', async (t) => {
  const server = await startServer(t, { rateLimit: false })
  const seen = (async () => {
    let left = FLOOD
    for await (const event of server.events()) {
      if (event.type === 'raw') left -= 1
      if (left === 0) return
    }
  })()
  t.true((await turnsDuringFlood(t, server, seen)) > 0)
})
