import test from 'ava'
import {
  type InboundEvent,
  type InboundRequest,
  type JsonObject,
  type RequestHandler,
  WseError,
  WseServer,
} from 'wse-server'
import { Arrivals, gate, until, within } from './harness/arrivals.js'
import { type Connection, connect } from './harness/connect.js'
import { FLOOD, turnsDuringFlood } from './harness/flood.js'
import { Application, startServer, warned } from './harness/server.js'
import { secret, tokenOf } from './harness/tokens.js'

/** Answers with the number of the request. */
const counting: RequestHandler = ({ type, payload }) => ({ t: `${type}_response`, p: { n: payload.n } })

test('sends what a handler returns to the connection that asked', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  const requests = new Arrivals<InboundRequest>()
  server.handle('order_status', (request) => {
    requests.push(request)
    return { t: 'order_status_response', p: { state: 'shipped' } }
  })
  const [anna, ben] = [
    await connect(t, server, { token: await tokenOf('anna') }),
    await connect(t, server, { token: await tokenOf('ben') }),
  ]
  anna.send({ t: 'order_status', p: { order: 7 }, cid: 'a-1' })
  t.like(await anna.next('order_status_response'), { p: { state: 'shipped' }, cid: 'a-1', seq: 1 })
  t.deepEqual(await requests.next('the request'), {
    connId: anna.id,
    userId: 'anna',
    type: 'order_status',
    payload: { order: 7 },
    message: { t: 'order_status', p: { order: 7 }, cid: 'a-1' },
    cid: 'a-1',
  })
  await ben.roundTrip()
  t.deepEqual(ben.waiting, [])
})

for (const [what, answer] of [
  ['nothing', () => undefined],
  ['null', () => null],
  ['a promise of nothing', async () => {}],
] as const) {
  test(`sends nothing for a handler that returns ${what}`, async (t) => {
    const server = await startServer(t)
    server.handle('note', answer)
    server.handle('ask', counting)
    const connection = await connect(t, server)
    connection.send({ t: 'note', p: {} })
    connection.send({ t: 'ask', p: { n: 1 } })
    t.like(await connection.next('ask_response'), { p: { n: 1 } })
    t.deepEqual(connection.waiting, [])
  })
}

test('copies the name of a request into its answer, unless the answer has one or the name is not fit', async (t) => {
  const server = await startServer(t)
  server.handle('ask', ({ cid, payload }) => ({ t: 'answer', p: { cid: cid ?? null }, ...payload.set }))
  const connection = await connect(t, server)
  for (const [cid, copied] of [
    ['x'.repeat(64), 'x'.repeat(64)],
    ['x'.repeat(65), undefined],
    [7, 7],
    [{ a: 1 }, undefined],
    [null, undefined],
  ] as const) {
    connection.send({ t: 'ask', cid })
    const answer = await connection.next('answer')
    t.is(answer.cid, copied)
    t.deepEqual(answer.p, { cid: copied ?? null })
  }
  connection.send({ t: 'ask', cid: 'mine', p: { set: { cid: 'yours' } } })
  t.is((await connection.next('answer')).cid, 'yours')
  server.handle('ask', () => ({ t: 'hidden', toJSON: () => ({ t: 'answer', p: { n: 1 } }) }))
  connection.send({ t: 'ask', cid: 7 })
  t.like(await connection.next('answer'), { cid: 7, p: { n: 1 } })
})

test('knows no user of an anonymous connection, and no payload that is none', async (t) => {
  const server = await startServer(t)
  server.handle('ask', ({ userId, payload }) => ({ t: 'answer', p: { userId, payload } }))
  const connection = await connect(t, server)
  for (const p of [undefined, 5, 'x', null, [1]]) {
    connection.send({ t: 'ask', p })
    t.deepEqual((await connection.next('answer')).p, { userId: null, payload: {} })
  }
})

test('takes messages under their long names, with an old prefix, and of any script', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  server.handle('ask', ({ type, payload, cid }) => ({ t: 'answer', p: { type, payload, cid } }))
  const connection = await connect(t, server, { token: await tokenOf('Änne "x"') })
  const asked = '{"type":"ask","payload":{"wer":"Änne"},"correlation_id":"ü"}'
  for (const text of [asked, `WSE${asked}`, `S${asked}`, `U${asked}`]) {
    connection.send(text)
    t.deepEqual((await connection.next('answer')).p, { type: 'ask', payload: { wer: 'Änne' }, cid: 'ü' })
  }
})

test('answers a connection of version 1 in its own envelope', async (t) => {
  const server = await startServer(t)
  server.handle('ask', ({ payload }) => {
    if (payload.n === 1) return { t: 'answer', p: { n: 1 } }
    throw new WseError('WSE_INTERNAL', 'no luck')
  })
  const connection = await connect(t, server, { path: '/wse?protocol_version=1' })
  connection.send({ t: 'ask', p: { n: 1 }, cid: 'a', c: 'U', v: 1 })
  t.like(await connection.next('answer'), { c: 'U', v: 1, cid: 'a', p: { n: 1 }, _msg_cat: undefined })
  connection.send({ t: 'ask', p: { n: 2 } })
  t.like(await connection.next('error'), { c: 'WSE', v: 1, p: { code: 'HANDLER_ERROR' } })
})

/** The four ways to take events, each telling what it sees. */
const consumers: [string, (server: WseServer, see: (event: InboundEvent) => unknown) => void][] = [
  [
    'drain()',
    async (server, see) => {
      for await (const batch of server.drain()) for (const event of batch) see(event)
    },
  ],
  [
    'events()',
    async (server, see) => {
      for await (const event of server.events()) see(event)
    },
  ],
  [
    'drainInbound()',
    async (server, see) => {
      while (server.isRunning()) for (const event of await server.drainInbound(7)) see(event)
    },
  ],
  [
    'setCallbacks()',
    (server, see) => server.setCallbacks({ onConnect: see, onMessage: see, onRaw: see, onDisconnect: see }),
  ],
]

for (const [way, take] of consumers) {
  test(`calls handlers in their place among the events of ${way}`, async (t) => {
    const server = await startServer(t, { rateLimit: false })
    const seen = new Arrivals<string>()
    server.handle('ask', ({ payload }) => {
      seen.push(`ask ${payload.n}`)
    })
    void take(server, (event) => seen.push(event.type === 'raw' ? event.text : event.type))
    const connection = await connect(t, server)
    t.is(await seen.next('the beginning'), 'connect')
    const count = 3_000
    for (let n = 0; n < count; n++) connection.send(n % 3 === 0 ? { t: 'ask', p: { n } } : `text ${n}`)
    connection.socket.close(1000)
    for (let n = 0; n < count; n++) t.is(await seen.next('the next one'), n % 3 === 0 ? `ask ${n}` : `text ${n}`)
    t.is(await seen.next('the end'), 'disconnect')
    t.is(server.inboundQueueDepth(), 0)
  })

  test(`lets the host work while requests pour in beside ${way}`, async (t) => {
    const server = await startServer(t, { rateLimit: false })
    const [isOver, setOver] = gate()
    let asked = 0
    server.handle('ask', () => {
      asked += 1
      if (asked === FLOOD) setOver()
    })
    void take(server, () => {})
    t.true((await turnsDuringFlood(t, server, isOver, { t: 'ask' })) > 0)
  })
}

test('shows the application messages of other types, and types that were given back', async (t) => {
  const server = await startServer(t)
  server.handle('ask', counting)
  const application = new Application(server)
  const connection = await connect(t, server)
  connection.send({ t: 'chat', p: { n: 1 } })
  t.like((await application.next('msg')).data, { t: 'chat' })
  connection.send({ t: 'ask', p: { n: 2 } })
  await connection.next('ask_response')
  server.handle('ask', null)
  connection.send({ t: 'ask', p: { n: 3 } })
  t.like((await application.next('msg')).data, { t: 'ask', p: { n: 3 } })
  server.handle('ask', () => ({ t: 'another' }))
  connection.send({ t: 'ask' })
  await connection.next('another')
})

test('takes the place of an answer of the engine, in a batch too, until it is given back', async (t) => {
  const server = await startServer(t)
  server.handle('health_check', () => ({ t: 'health_check_response', p: { status: 'ours' } }))
  const connection = await connect(t, server)
  const status = async () => (await connection.next('health_check_response')).p.status
  connection.send({ t: 'health_check' })
  t.is(await status(), 'ours')
  connection.send({ t: 'batch', p: { messages: [{ t: 'health_check' }, { t: 'health_check' }] } })
  t.like((await connection.next('batch_message_result')).p, { total: 2, successful: 2 })
  t.deepEqual([await status(), await status()], ['ours', 'ours'])
  connection.send({ t: 'priority_message', p: { message: { t: 'health_check' } } })
  t.is(await status(), 'ours')
  server.handle('batch', ({ payload }) => ({ t: 'counted', p: { count: payload.messages.length } }))
  connection.send({ t: 'batch', p: { messages: [{ t: 'health_check' }] } })
  t.like((await connection.next('counted')).p, { count: 1 })
  server.handle('health_check', null)
  connection.send({ t: 'health_check' })
  t.is(await status(), 'healthy')
  t.deepEqual(connection.waiting, [])
})

for (const type of [
  'health_check_request',
  'metrics_request',
  'config_request',
  'config_update',
  'connection_state_request',
  'system_status_request',
  'sequence_stats_request',
  'sync_request',
  'snapshot_request',
  'request_snapshot',
  'priority_message',
  'batch_message',
  'debug_request',
  'debug_handlers',
  'health_check_response',
  'metrics_response',
  'sync_response',
]) {
  // biome-ignore format: one line.
  test(`can answer ${type}`, async (t) => {
    const server = await startServer(t)
    server.handle(type, ({ type }) => ({ t: 'ours', p: { type } }))
    const connection = await connect(t, server)
    connection.send({ t: type, p: {} })
    t.deepEqual((await connection.next('ours')).p, { type })
    t.deepEqual(connection.waiting, [])
  })
}

test('runs the handlers of one connection one after another, and those of others beside them', async (t) => {
  const server = await startServer(t)
  const [isFree, setFree] = gate()
  const began = new Arrivals<string>()
  server.handle('ask', async ({ payload }) => {
    began.push(`${payload.n}`)
    if (payload.n === 1) await isFree
    return { t: 'answer', p: { n: payload.n } }
  })
  const application = new Application(server)
  const [one, other] = [await connect(t, server), await connect(t, server)]
  one.send({ t: 'ask', p: { n: 1 } })
  t.is(await began.next('the first'), '1')
  one.send({ t: 'ask', p: { n: 2 } })
  // An event behind a request does not wait for its answer.
  one.send('text')
  t.is((await application.next('raw')).text, 'text')
  other.send({ t: 'ask', p: { n: 3 } })
  t.deepEqual((await other.next('answer')).p, { n: 3 })
  t.is(await began.next('that of the other connection'), '3')
  t.deepEqual(began.waiting, [])
  setFree()
  for (const n of [1, 2]) t.deepEqual((await one.next('answer')).p, { n })
})

test('keeps requests and events of a connection in one order with callbacks', async (t) => {
  const server = await startServer(t)
  const [isFree, setFree] = gate()
  const seen = new Arrivals<string>()
  server.handle('ask', async () => {
    seen.push('ask')
    await isFree
    seen.push('answered')
  })
  server.setCallbacks({ onRaw: ({ text }) => seen.push(text) })
  const connection = await connect(t, server)
  connection.send({ t: 'ask' })
  connection.send('text')
  t.is(await seen.next('the request'), 'ask')
  await connection.roundTrip()
  setFree()
  t.is(await seen.next('its end'), 'answered')
  t.is(await seen.next('the text'), 'text')
})

test('answers in order also where callbacks need no order', async (t) => {
  const server = await startServer(t)
  const [isFree, setFree] = gate()
  const texts = new Arrivals<string>()
  server.handle('ask', async (request) => {
    if (request.payload.n === 1) await isFree
    return counting(request) as JsonObject & { t: string }
  })
  server.setCallbacks({ onRaw: ({ text }) => texts.push(text) }, { inOrder: false })
  const connection = await connect(t, server)
  for (const n of [1, 2]) connection.send({ t: 'ask', p: { n } })
  connection.send('text')
  t.is(await texts.next('the text'), 'text')
  setFree()
  for (const n of [1, 2]) t.deepEqual((await connection.next('ask_response')).p, { n })
})

for (const [title, fail] of [
  [
    'throws',
    () => {
      throw new Error('the password is 1234')
    },
  ],
  ['rejects', () => Promise.reject(new Error('the password is 1234'))],
  ['returns what is no event', () => 'text' as never],
  ['returns a list', async () => [] as never],
  ['returns what JSON cannot say', () => ({ t: 'answer', p: { n: 1n } })],
  ['returns what is too large', () => ({ t: 'answer', p: { text: 'x'.repeat(2_000) } })],
  ['returns a reserved member', () => ({ t: 'answer', tp: 'prices' })],
] satisfies [string, RequestHandler][]) {
  test(`tells the client and the log of a handler that ${title}, and goes on`, async (t) => {
    const lines = new Arrivals<[JsonObject, string]>()
    const say = (fields: JsonObject, event: string) => lines.push([fields, event])
    const server = await startServer(t, {
      maxMessageBytes: 1_000,
      logger: { debug: say, info: say, warn: say, error: say },
      logLevel: 'error',
    })
    server.handle('ask', fail)
    server.handle('other', counting)
    const connection = await connect(t, server)
    connection.send({ t: 'ask', cid: 5 })
    connection.send({ t: 'other', p: { n: 1 } })
    const error = await connection.next('error')
    t.like(error, { cid: 5, p: { code: 'HANDLER_ERROR', details: { type: 'ask' }, recoverable: true } })
    t.false(JSON.stringify(error).includes('1234'))
    t.like(await connection.next('other_response'), { p: { n: 1 } })
    const [fields, event] = await lines.next('a line')
    t.is(event, 'wse.error')
    t.like(fields, { code: 'HANDLER_ERROR', callback: "handle('ask')", conn_id: connection.id })
    t.true(fields.err instanceof Error)
  })
}

test.serial('warns of a handler that fails when there is no logger', async (t) => {
  const server = await startServer(t)
  server.handle('ask', () => {
    throw new Error('no luck')
  })
  const warning = warned(t, 'WseHandlerWarning')
  const connection = await connect(t, server)
  connection.send({ t: 'ask' })
  const { message, detail } = await warning
  t.is(message, `handle('ask') failed for connection ${connection.id}`)
  t.regex(detail ?? '', /no luck/)
})

test('survives that not even the error may be sent', async (t) => {
  const lines = new Arrivals<JsonObject>()
  const say = (fields: JsonObject) => lines.push(fields)
  const server = await startServer(t, {
    maxMessageBytes: 200,
    logger: { debug: say, info: say, warn: say, error: say },
    logLevel: 'error',
  })
  server.handle('ask', () => Promise.reject(new Error('no luck')))
  server.handle('note', () => ({ t: 'ok' }))
  const connection = await connect(t, server)
  connection.send({ t: 'ask' })
  connection.send({ t: 'note' })
  await connection.next('ok')
  t.like((await lines.next('the fault')).err, { message: 'no luck' })
})

test('refuses what waits for a handler that is given back', async (t) => {
  const server = await startServer(t)
  const [isFree, setFree] = gate()
  const began = new Arrivals<unknown>()
  server.handle('ask', async ({ payload }) => {
    began.push(payload.n)
    await isFree
    return { t: 'answer' }
  })
  const application = new Application(server)
  const connection = await connect(t, server)
  connection.send({ t: 'ask', p: { n: 1 } })
  connection.send({ t: 'ask', p: { n: 2 } })
  connection.send('text')
  await application.next('raw')
  server.handle('ask', null)
  setFree()
  await connection.next('answer')
  t.like((await connection.next('error')).p, { code: 'HANDLER_ERROR' })
  t.is(await began.next('the first'), 1)
  t.deepEqual(began.waiting, [])
})

test('serves requests without anybody who takes events, and counts what it drops', async (t) => {
  const server = new WseServer()
  t.teardown(() => server.close())
  server.handle('ask', counting)
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
  const connection = await connect(t, { port })
  const count = 5_000
  for (let n = 0; n < count; n++) {
    connection.send({ t: 'chat', p: { n } })
    connection.send({ t: 'ask', p: { n } })
  }
  for (let n = 0; n < count; n++) t.deepEqual((await connection.next('ask_response')).p, { n })
  t.is(server.inboundDroppedCount(), count)
  t.is(server.inboundQueueDepth(), 0)
})

test('begins to serve when the first handler comes, and ends with the last', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  connection.send({ t: 'ask' })
  await connection.roundTrip()
  // As without handlers: what came waits for the application.
  t.is(server.inboundQueueDepth(), 2)
  server.handle('ask', counting)
  await until('what came before is taken', () => server.inboundQueueDepth() === 0)
  t.is(server.inboundDroppedCount(), 1)
  connection.send({ t: 'ask', p: { n: 2 } })
  await connection.next('ask_response')
  server.handle('ask', null)
  connection.send({ t: 'ask' })
  await connection.roundTrip()
  await connection.roundTrip()
  t.is(server.inboundQueueDepth(), 1)
})

test('loses nothing to a loop that starts in the same turn', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  for (let n = 0; n < 10; n++) connection.send(`text ${n}`)
  await connection.roundTrip()
  server.handle('ask', counting)
  const application = new Application(server)
  t.is((await application.next('connect')).connId, connection.id)
  for (let n = 0; n < 10; n++) t.is((await application.next('raw')).text, `text ${n}`)
})

test('gives way to a loop and to callbacks, and serves again when they are gone', async (t) => {
  const server = await startServer(t)
  server.handle('ask', counting)
  const connection = await connect(t, server)
  const ask = async (n: number) => {
    connection.send({ t: 'ask', p: { n } })
    t.deepEqual((await connection.next('ask_response')).p, { n })
  }
  await ask(1)
  const loop = (async () => {
    for await (const { type } of server.events()) if (type === 'raw') break
  })()
  await ask(2)
  connection.send('text')
  await within(loop, 'the end of the loop')
  await ask(3)
  const texts = new Arrivals<string>()
  server.setCallbacks({ onRaw: ({ text }) => texts.push(text) })
  connection.send('for callbacks')
  t.is(await texts.next('a text'), 'for callbacks')
  await ask(4)
  server.setCallbacks(null)
  await ask(5)
  const dropped = server.inboundDroppedCount()
  connection.send('for nobody')
  await ask(6)
  t.is(server.inboundDroppedCount(), dropped + 1)
  const application = new Application(server)
  connection.send('for the loop')
  t.is((await application.next('raw')).text, 'for the loop')
  await ask(7)
})

for (const [way, take] of [...consumers, ['nobody', () => {}] as const]) {
  test(`slows down who asks faster than it is answered, and nobody else, beside ${way}`, async (t) => {
    const server = await startServer(t, { rateLimit: false, inbound: { maxBytesPerConnection: 64 * 1024 } })
    const [isFree, setFree] = gate()
    let flooder = ''
    server.handle('ask', async (request) => {
      if (request.connId === flooder) await isFree
      return counting(request) as JsonObject & { t: string }
    })
    void take(server, () => {})
    const fast = await connect(t, server)
    flooder = fast.id
    const other = await connect(t, server)
    const count = 20_000
    const padding = 'x'.repeat(1_000)
    for (let n = 0; n < count; n++) fast.send({ t: 'ask', p: { n, padding } })
    for (let n = 0; n < 100; n++) {
      other.send({ t: 'ask', p: { n } })
      t.deepEqual((await other.next('ask_response')).p, { n })
    }
    t.true(fast.socket.bufferedAmount > 0)
    setFree()
    for (let n = 0; n < count; n++) t.deepEqual((await fast.next('ask_response')).p, { n })
    t.is(server.inboundDroppedCount(), 0)
  })

  test(`takes no more than handlers may have at once beside ${way}, and then goes on`, async (t) => {
    const server = await startServer(t, { inbound: { maxBytes: 4_096 } })
    const [isFree, setFree] = gate()
    let running = 0
    let most = 0
    server.handle('ask', async (request) => {
      running += 1
      most = Math.max(most, running)
      await isFree
      running -= 1
      return counting(request) as JsonObject & { t: string }
    })
    void take(server, () => {})
    const clients: Connection[] = []
    for (let n = 0; n < 20; n++) clients.push(await connect(t, server))
    for (const [n, client] of clients.entries()) client.send({ t: 'ask', p: { n, padding: 'x'.repeat(1_000) } })
    await until('some run', () => most > 0)
    for (const client of clients) await client.roundTrip()
    t.true(most <= 5)
    setFree()
    for (const [n, client] of clients.entries()) t.deepEqual((await client.next('ask_response')).p, { n })
  })
}

test('ends while handlers run, and their answers go nowhere', async (t) => {
  const server = await startServer(t)
  const [isFree, setFree] = gate()
  const answered = new Arrivals<unknown>()
  server.handle('ask', async (request) => {
    await isFree
    answered.push(request.payload.n)
    return { t: 'answer' }
  })
  const connection = await connect(t, server)
  for (const n of [1, 2]) connection.send({ t: 'ask', p: { n } })
  await connection.roundTrip()
  await within(server.close(), 'the end')
  t.is((await connection.closed()).code, 1012)
  setFree()
  for (const n of [1, 2]) t.is(await answered.next('a request'), n)
  t.notThrows(() => server.handle('ask', null))
})

test('ends a loop behind requests whose handlers never finish', async (t) => {
  const server = await startServer(t, { inbound: { maxBytes: 2_048 } })
  server.handle('ask', () => new Promise(() => {}))
  const clients: Connection[] = []
  for (let n = 0; n < 8; n++) clients.push(await connect(t, server))
  const over = (async () => {
    let ends = 0
    for await (const event of server.events()) ends += Number(event.type === 'disconnect')
    return ends
  })()
  for (const client of clients) client.send({ t: 'ask', p: { padding: 'x'.repeat(1_000) } })
  for (const client of clients) await client.roundTrip()
  await server.close()
  t.is(await within(over, 'the end of the loop'), clients.length)
})

for (const type of [
  'ping',
  'PING',
  'pong',
  'PONG',
  'heartbeat',
  'client_hello',
  'auth_refresh',
  'subscription_update',
  'subscription',
  'encryption_request',
  'key_rotation_request',
  '',
  7,
]) {
  // biome-ignore format: one line.
  test(`leaves ${JSON.stringify(type)} to the engine`, async (t) => {
    const server = await startServer(t)
    const error = t.throws(() => server.handle(type as string, () => {}), { code: 'WSE_OPTION_INVALID' })
    t.true(error?.message.includes('type'))
  })
}

test('refuses a handler that is none, and types where there are no envelopes', async (t) => {
  const server = await startServer(t)
  for (const handler of [undefined, 'log', {}]) {
    t.throws(() => server.handle('ask', handler as never), { code: 'WSE_OPTION_INVALID', message: /handler of ask/ })
  }
  const plain = await startServer(t, { envelope: false })
  t.throws(() => plain.handle('ask', () => {}), { code: 'WSE_OPTION_INVALID', message: /envelope/ })
})
