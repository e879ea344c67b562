import test from 'ava'
import type { InboundEvent, JsonObject } from 'wse-server'
import { gate, within } from './harness/arrivals.js'
import { connect } from './harness/connect.js'
import { Application, startServer, warned } from './harness/server.js'

test('hands over connect, messages and disconnect of a connection in order', async (t) => {
  const server = await startServer(t)
  const application = new Application(server)
  const connection = await connect(t, server, { headers: { 'x-tab': '7', cookie: 'theme=dark' } })
  connection.send({ t: 'chat', p: { text: 'hello' } })
  connection.send('no object')
  connection.send(Buffer.from([1, 2, 255]))
  connection.send('[1,2]')
  connection.send({ t: 'chat', p: { text: '漢字' } })
  await connection.close()
  await application.next('disconnect').then((event) => t.like(event, { connId: connection.id, code: 1000 }))

  const [first, ...rest] = application.waiting
  t.is(first?.type, 'connect')
  if (first?.type === 'connect') {
    t.is(first.connId, connection.id)
    t.is(first.headers['x-tab'], '7')
    t.is(first.cookies, 'theme=dark')
    t.is(first.url, '/wse')
    t.is(first.remoteAddress, '127.0.0.1')
  }
  t.deepEqual(
    rest.map(({ type }) => type),
    ['msg', 'raw', 'bin', 'raw', 'msg'],
  )
  t.true(rest.every(({ connId }) => connId === connection.id))
  const contents = rest.map((event) => {
    if (event.type === 'msg') return event.data
    if (event.type === 'bin') return [...event.bytes]
    return event.type === 'raw' ? event.text : null
  })
  t.deepEqual(contents, [
    { t: 'chat', p: { text: 'hello' } },
    'no object',
    [1, 2, 255],
    '[1,2]',
    { t: 'chat', p: { text: '漢字' } },
  ])
})

test('parses the data of a message once, when it is touched', async (t) => {
  const server = await startServer(t)
  const application = new Application(server)
  const connection = await connect(t, server)
  const text = '{"t":"chat", "p":{"n":1}}'
  connection.send(text)
  const event = await application.next('msg')
  t.is(event.text, text)
  const { data } = event
  t.is(event.data, data)
  t.deepEqual(data, { t: 'chat', p: { n: 1 } })
})

test('answers the protocol without the application', async (t) => {
  const server = await startServer(t)
  const application = new Application(server)
  const connection = await connect(t, server)
  await application.next('connect')
  await connection.roundTrip()
  connection.send({ t: 'client_hello', p: { client_version: '1', protocol_version: 2, features: {} } })
  await connection.next('server_hello')
  connection.send({ t: 'heartbeat', p: {} })
  connection.send({ t: 'pong', p: {} })
  connection.send({ t: 'chat', p: {} })
  t.like((await application.next('msg')).data, { t: 'chat' })
  t.deepEqual(application.waiting, [])
})

test('resolves an empty batch when nothing comes in time, and a full one as soon as there is something', async (t) => {
  const server = await startServer(t)
  t.deepEqual(await within(server.drainInbound(256, 1), 'an empty batch'), [])
  const pending = server.drainInbound(256, 60_000)
  const connection = await connect(t, server)
  t.like(await within(pending, 'the connect event'), [{ type: 'connect', connId: connection.id }])
})

test('hands over at most as many events as were asked for', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  for (let n = 0; n < 100; n++) connection.send({ t: 'n', p: { n } })
  await connection.roundTrip()
  const seen: InboundEvent[] = []
  while (seen.length < 101) {
    const batch = await within(server.drainInbound(7, 1_000), 'a batch')
    t.true(batch.length <= 7)
    seen.push(...batch)
  }
  t.deepEqual(
    seen.slice(1).map((event) => event.type === 'msg' && event.data.p.n),
    Array.from({ length: 100 }, (_, n) => n),
  )
})

test('keeps the beginning and end of every connection when the inbound budget is full', async (t) => {
  const server = await startServer(t, { inbound: { maxBytes: 4_096, maxBytesPerConnection: 1_024 } })
  const [isFree, setFree] = gate()
  const application = new Application(server, isFree)
  const flooder = await connect(t, server)
  for (let n = 0; n < 50; n++) flooder.send('x'.repeat(500))
  for (let n = 0; n < 20; n++) await (await connect(t, server)).close()
  setFree()
  for (let n = 0; n < 20; n++) await application.next('disconnect')
  for (let n = 0; n < 21; n++) await application.next('connect')
  for (let n = 0; n < 50; n++) await application.next('raw')
  t.is(server.inboundDroppedCount(), 0)
})

test('drops and counts what nobody drains, but for the beginning and end of connections', async (t) => {
  const server = await startServer(t, { inbound: { maxBytes: 4_096, maxBytesPerConnection: 1_024 } })
  const connection = await connect(t, server)
  for (let n = 0; n < 50; n++) connection.send('x'.repeat(500))
  await connection.roundTrip()
  t.true(server.inboundDroppedCount() > 0)
  await connection.close()
  const application = new Application(server)
  await application.next('connect')
  await application.next('disconnect')
})

test('serves on and loses no promise when nobody ever drains', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  for (let n = 0; n < 100; n++) connection.send({ t: 'chat', p: { n } })
  await connection.roundTrip()
  server.broadcastAll('still here')
  t.is(await connection.nextText(), 'still here')
})

test('lets the host work while messages pour in', async (t) => {
  const server = await startServer(t, { rateLimit: false })
  const application = new Application(server)
  const connection = await connect(t, server)
  let turns = 0
  const count = 50_000
  const ticking = setInterval(() => {
    turns += 1
  }, 1)
  t.teardown(() => clearInterval(ticking))
  for (let n = 0; n < count; n++) connection.send('x')
  for (let n = 0; n < count; n++) await application.next('raw')
  t.true(turns > 0)
})

test('ends a drain and resolves what waits when the engine closes', async (t) => {
  const server = await startServer(t)
  const pending = server.drainInbound(256, 60_000)
  const application = server.drain()[Symbol.asyncIterator]()
  await server.close()
  t.deepEqual(await within(pending, 'the pending batch'), [])
  const end = (async () => {
    while (!(await application.next()).done) {}
  })()
  await within(end, 'the end of the drain')
  t.false(server.isRunning())
})

test('hands out what still waits when the engine closes, and then ends', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  for (let n = 0; n < 10; n++) connection.send({ t: 'n', p: { n } })
  await connection.roundTrip()
  const [first] = await within(server.drainInbound(1), 'the connect event')
  await server.close()
  t.is(server.inboundQueueDepth(), 11)
  const application = new Application(server)
  for (let n = 0; n < 10; n++) t.deepEqual((await application.next('msg')).data.p, { n })
  t.like(await application.next('disconnect'), { connId: connection.id, code: 1012 })
  await t.throwsAsync(application.next('raw'), { message: /the engine closed/ })
  t.deepEqual(await within(server.drainInbound(), 'an empty batch'), [])
  t.is(first?.type, 'connect')
})

test('names the connection of an event that outlives its server, whoever came after', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  const [event] = await within(server.drainInbound(256, 20_000), 'the connect event')
  await server.close()
  await startServer(t)
  t.is(event?.connId, connection.id)
})

test('goes on under a loop when a second one is refused', async (t) => {
  const server = await startServer(t, { inbound: { maxBytes: 4_096, maxBytesPerConnection: 1_024 } })
  const application = new Application(server)
  await t.throwsAsync(server.drain().next(), { code: 'WSE_DRAIN_BUSY' })
  const connection = await connect(t, server)
  await application.next('connect')
  await t.throwsAsync(server.drain().next(), { code: 'WSE_DRAIN_BUSY' })
  for (let n = 0; n < 50; n++) connection.send('x'.repeat(500))
  for (let n = 0; n < 50; n++) await application.next('raw')
  t.is(server.inboundDroppedCount(), 0)
})

test('lets the host work while an application asks without waiting', async (t) => {
  const server = await startServer(t)
  let isOver = false
  setImmediate(() => {
    isOver = true
  })
  // Bounded, so that a host that is starved fails instead of hanging.
  for (let n = 0; n < 100_000 && !isOver; n++) await server.drainInbound(256, 0)
  t.true(isOver)
})

for (const [batchSize, timeoutMs] of [
  [0, 1],
  [-1, 1],
  [2.5, 1],
  [256, Number.NaN],
  [256, -1],
] as const) {
  test(`refuses to drain ${batchSize} events within ${timeoutMs} ms`, async (t) => {
    const server = await startServer(t)
    await t.throwsAsync(server.drainInbound(batchSize, timeoutMs), { code: 'WSE_OPTION_INVALID' })
  })
}

test('reads what an event does not have as undefined', async (t) => {
  const server = await startServer(t)
  const application = new Application(server)
  const connection = await connect(t, server)
  connection.send({ t: 'chat', p: {} })
  connection.send(Buffer.from([1, 2, 3]))
  t.like(await application.next('connect'), { text: undefined, bytes: undefined } as object)
  t.like(await application.next('msg'), { bytes: undefined } as object)
  t.like(await application.next('bin'), { text: undefined } as object)
})

test('warns of what was dropped because nobody drained', async (t) => {
  const warning = warned(t, 'WseInboundWarning')
  const server = await startServer(t, { inbound: { maxBytes: 4_096, maxBytesPerConnection: 1_024 } })
  const connection = await connect(t, server)
  for (let n = 0; n < 50; n++) connection.send('x'.repeat(500))
  await connection.roundTrip()
  await server.close()
  t.regex((await warning).message, /nobody drained/)
})

for (const [title, sent, data] of [
  ['a type', { type: 'chat' }, { t: 'chat' }],
  ['another type', { event_type: 'chat' }, { t: 'chat' }],
  ['two types', { event_type: 'b', type: 'a' }, { t: 'a' }],
  ['a type that is none', { event_type: 'b', type: null }, { t: null }],
  ['all', { type: 'chat', payload: { n: 1 }, timestamp: 'now', sequence: 1, correlation_id: 'c', priority: 8, compressed: false, encrypted: false, version: 2 }, { t: 'chat', p: { n: 1 }, ts: 'now', seq: 1, cid: 'c', pri: 8, cmp: false, enc: false, v: 2 }], // biome-ignore format: one line.
  ['a short one too', { payload: { n: 1 }, p: { n: 2 }, t: 'chat' }, {}],
  ['an empty short one too', { p: null, payload: { n: 1 }, t: 'chat' }, {}],
  ['nothing', { t: 'chat', p: { type: 'inner', payload: 1 } }, {}],
] satisfies [string, JsonObject, JsonObject][]) {
  test(`adds the short names to a message that names ${title} at length`, async (t) => {
    const server = await startServer(t)
    const application = new Application(server)
    const connection = await connect(t, server)
    for (const prefix of ['', 'WSE', 'S', 'U']) {
      connection.send(prefix + JSON.stringify(sent))
      const event = await application.next('msg')
      t.deepEqual(event.data, { ...sent, ...data })
      t.is(event.text, JSON.stringify(sent))
    }
  })
}

test('shows a message of a plain connection as it came', async (t) => {
  const server = await startServer(t, { envelope: false })
  const application = new Application(server)
  const connection = await connect(t, server, { greeted: false })
  connection.send({ type: 'chat', payload: 1 })
  t.deepEqual((await application.next('msg')).data, { type: 'chat', payload: 1 })
})

test('is woken for each event that comes while it looks whether there is one', async (t) => {
  const server = await startServer(t, { heartbeatIntervalMs: 0 })
  const connection = await connect(t, server)
  const events = server.events()
  t.teardown(() => events.return?.())
  t.is((await events.next()).value.type, 'connect')
  // Each one finds the loop on its way to sleep, on the road or asleep.
  for (let n = 0; n < 5_000; n++) {
    connection.send(String(n))
    t.is((await within(events.next(), `message ${n}`)).value.text, String(n))
  }
})
