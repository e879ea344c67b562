// The Python client that users already have, unmodified, against a real server.
import { createECDH, randomBytes } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import type { WseServer } from 'wse-server'
import { until } from './harness/arrivals.js'
import { runFile } from './harness/child.js'
import { finished } from './harness/command.js'
import { connect } from './harness/connect.js'
import {
  connectPython,
  installPython,
  PythonClient,
  type PythonOptions,
  runPython,
  startPython,
} from './harness/python.js'
import type { Relay } from './harness/relay.js'
import { Application, startServer } from './harness/server.js'
import { OP } from './harness/socket.js'
import { secret, tokenOf } from './harness/tokens.js'

// Each client is a process of its own, so only those tests that mostly wait run beside each other.
test.before('finds the client, or installs it', async (t) => {
  t.timeout(600_000)
  await installPython()
})

test.serial('reads the vectors of the wire with what a client in Python has', async (t) => {
  const { code, errors } = await finished(runPython(t, '__test__/python/vectors.py'))
  t.is(code, 0, errors)
})

test('joins the chat of a host with the example of the guide', async (t) => {
  const file = fileURLToPath(new URL('../examples/hosts/node-http.ts', import.meta.url))
  const host = runFile(t, file, { PORT: '0', JWT_SECRET: secret })
  const port = Number(new URL(await host.nextLine()).port)
  const other = await connect(t, { port }, { token: await tokenOf('anna') })
  // Of what one connection sends the order is kept: from here on she hears everything.
  other.send({ t: 'chat', p: { text: 'first' } })
  await other.next('chat')

  const url = `ws://127.0.0.1:${port}/wse`
  const guest = runPython(t, 'examples/python/chat.py', [url], { TOKEN: await tokenOf('ben') })
  t.deepEqual((await other.next('chat')).p, { text: 'hello from Python' })
  t.is(await guest.nextLine(), 'hello from Python')
  other.send({ t: 'chat', p: { text: 'Grüße' } })
  t.is(await guest.nextLine(), 'Grüße')
  host.kill('SIGTERM')
  await host.exited()

  const stranger = await startServer(t, { jwt: { secret: `${secret}!` } })
  const refused = runPython(t, 'examples/python/chat.py', [url.replace(String(port), String(stranger.port))], {
    TOKEN: await tokenOf('ben'),
  })
  const { code, errors } = await refused.exited()
  t.is(code, 1)
  t.regex(errors, /AUTH_FAILED the token was not accepted\nthe connection ended for good/)
})

/** What the client knows of itself. */
const statsOf = async (client: PythonClient) =>
  (await client.call('get_stats')) as {
    connection_id: string
    messages_received: number
    reconnect_count: number
    network: { quality: string; latency_ms: number }
  }

test.serial('tells it who is in a topic, of many at once in a batch that it takes apart', async (t) => {
  const options = { jwt: { secret }, presence: true, maxConnectionsPerUser: 0 }
  const server = await startServer(t, options)
  const application = new Application(server)
  const client = await connectPython(t, server, { arguments: { token: await tokenOf('anna') } })
  const { connId } = await application.next('auth_connect')
  await server.subscribeConnection(connId, ['chat'], { status: 'here' })
  t.deepEqual((await client.next('presence_join')).payload, { user_id: 'anna', data: { status: 'here' } })
  await server.updatePresence(connId, { status: 'away' })
  t.deepEqual((await client.next('presence_update')).payload, { user_id: 'anna', data: { status: 'away' } })
  for (let n = 0; n < 101; n++) {
    const guest = await connect(t, server, { token: await tokenOf(`guest-${n}`) })
    await server.subscribeConnection(guest.id, ['chat'], { n })
  }
  // Those before it came one by one.
  for (let n = 0; n < 101; n++) await client.next('presence_join')
  server.disconnectUser('guest-7')
  t.deepEqual((await client.next('presence_leave')).payload, { user_id: 'guest-7', data: { n: 7 } })
})

test.serial('greets it and answers its hello', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  const application = new Application(server)
  const client = await connectPython(t, server, { arguments: { token: await tokenOf('anna') } })
  const { connId, userId } = await application.next('auth_connect')
  t.is(userId, 'anna')
  t.is((await statsOf(client)).connection_id, connId)
  await client.logged('Server hello: version=')
  t.true(await client.call('is_fully_ready'))
})

test.serial('publishes to it in the dialect that it speaks', async (t) => {
  const { server, client } = await startPython(t)
  await client.subscribe(['news'])
  server.broadcast('news', { t: 'story', p: { title: 'Grüße 😀', n: 1.5 }, pri: 8, cid: 'c1' })
  const story = await client.next('story')
  t.like(story, { version: 1, category: 'U', priority: 8, correlation_id: 'c1', sequence: null })
  t.deepEqual(story.payload, { title: 'Grüße 😀', n: 1.5 })
  t.regex(story.id ?? '', /^[\da-f]{8}-[\da-f]{4}-7/)
  t.regex(story.timestamp ?? '', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)

  server.broadcast('news', '{"t":"news_snapshot","p":{},"sig":"c2lnbmVk","v":2,"_msg_cat":"S"}')
  t.like(await client.next('news_snapshot'), { version: 1, category: 'S', signature: 'c2lnbmVk' })
})

test.serial('tells it once what it subscribed to twice, in its URL and by a request', async (t) => {
  const { server, client, connId } = await startPython(t, { arguments: { topics: ['news', 'user:a,b'] } })
  await client.logged('Subscribed to: ')
  server.broadcast('user:a,b', { t: 'story', p: {} })
  server.sendEvent(connId, { t: 'end', p: {} })
  await client.next('story')
  await client.next('end')
  t.false(client.waiting.some(({ event }) => event?.type === 'story'))
})

test.serial('tells it which topics it may not have', async (t) => {
  const { client, server } = await startPython(t, {}, { topics: { allow: ['news'] } })
  await client.call('subscribe', [['secrets']])
  await client.logged("Subscription failed for: ['secrets']")
  const { payload } = await client.next('error')
  t.like(payload, { code: 'SUBSCRIPTION_FAILED', details: { topics: ['secrets'] } })
  await client.subscribe(['news'])
  server.broadcast('secrets', { t: 'secret', p: {} })
  server.broadcast('news', { t: 'story', p: {} })
  await client.next('story')
  t.false(client.waiting.some(({ event }) => event?.type === 'secret'))
})

test.serial('numbers what is sent to it alone, without a hole', async (t) => {
  const { server, client, connId } = await startPython(t)
  for (let n = 1; n <= 500; n++) server.sendEvent(connId, { t: 'note', p: { n } })
  for (let n = 1; n <= 500; n++) t.like(await client.next('note'), { sequence: n, payload: { n } })
})

test.serial('hands on what it sends', async (t) => {
  const { application, client, connId } = await startPython(t)
  t.true(await client.call('send', ['order', { qty: 100, note: 'Grüße 😀' }]))
  const event = await application.next('msg')
  t.is(event.connId, connId)
  t.like(event.data, { t: 'order', c: 'U', v: 1, p: { qty: 100, note: 'Grüße 😀' } })
})

const ways: [title: string, options: PythonOptions][] = [
  ['', {}],
  [', packed', { query: '?format=msgpack' }],
  [', encrypted', { arguments: { encryption: true } }],
]
for (const [title, options] of ways) {
  test.serial(`answers its pings, by which it knows the latency${title}`, async (t) => {
    const { client } = await startPython(t, { ...options, constants: { HEARTBEAT_INTERVAL: 0.02 } })
    await until('a latency', async () => (await statsOf(client)).network.quality !== 'unknown')
    t.true((await statsOf(client)).network.latency_ms >= 0)
  })

  test.serial(`exchanges messages of each size with it by permessage-deflate${title}`, async (t) => {
    const { server, application, client } = await startPython(t, options, { perMessageDeflate: true })
    await client.logged('Server hello: ')
    await client.subscribe(['news'])
    for (const size of [2, 1_000, 10_000, 500_000]) {
      const p = { text: randomBytes(size / 2).toString('hex') }
      server.broadcast('news', { t: 'story', p })
      t.deepEqual((await client.next('story')).payload, p)
      t.true(await client.call('send', ['order', p]))
      t.deepEqual((await application.next('msg')).data.p, p)
    }
    t.is((await statsOf(client)).reconnect_count, 0)
  })
}

test.serial('packs what it asked to have as MessagePack', async (t) => {
  const { server, relay, client, connId } = await startPython(t, { query: '?format=msgpack' })
  await client.subscribe(['news'])
  const p = { text: 'Grüße 😀', n: [0, -1, 1.5, 2 ** 40], none: null, yes: true, nested: { rows: 'x'.repeat(5_000) } }
  server.broadcast('news', { t: 'story', p })
  const story = await client.next('story')
  t.deepEqual(story.payload, p)
  t.like(story, { version: 1, category: 'U' })
  server.sendEvent(connId, { t: 'note', p })
  t.like(await client.next('note'), { sequence: 1, payload: p })
  for (const _ of [1, 2]) t.is((await relay.heard.next(OP.binary)).payload.toString('latin1', 0, 2), 'M:')
})

test.serial('compresses what is over the threshold, and nothing else', async (t) => {
  const { server, relay, client, connId } = await startPython(t)
  await client.subscribe(['news'])
  const small = { text: 'x'.repeat(500) }
  const large = { text: 'x'.repeat(5_000), more: 'Grüße 😀' }
  server.broadcast('news', { t: 'small', p: small })
  t.deepEqual((await client.next('small')).payload, small)
  t.deepEqual(
    relay.heard.waiting.filter(({ opcode }) => opcode === OP.binary),
    [],
  )
  for (const send of [
    () => server.broadcast('news', { t: 'large', p: large }),
    () => server.sendEvent(connId, { t: 'large', p: large }),
  ]) {
    send()
    const event = await client.next('large')
    t.deepEqual(event.payload, large)
    t.like(event, { version: 1, category: 'U' })
    const { payload } = await relay.heard.next(OP.binary)
    t.is(payload.toString('latin1', 0, 2), 'C:')
    t.true(payload.length < 1_000)
  }
})

test.serial(
  'encrypts everything for it, and opens what it encrypts, under a new key after each reconnect',
  async (t) => {
    const { server, application, relay, client, connId } = await startPython(t, { arguments: { encryption: true } })
    const exchange = async (connId: string, round: number) => {
      await client.logged('E2E encryption enabled')
      server.broadcast('news', { t: 'story', p: { round, text: 'x'.repeat(5_000) } })
      t.like(await client.next('story'), { category: 'U', version: 1, payload: { round } })
      server.sendEvent(connId, { t: 'note', p: { round } })
      t.like(await client.next('note'), { sequence: 1, payload: { round } })
      for (const _ of [1, 2]) t.is((await relay.heard.next(OP.binary)).payload.toString('latin1', 0, 2), 'E:')
      await client.call('send', ['order', { round }])
      t.like((await application.next('msg')).data, { t: 'order', c: 'U', p: { round } })
    }
    await client.subscribe(['news'])
    await exchange(connId, 1)
    relay.cut()
    const again = await application.next('connect')
    await client.logged('Subscribed to: ')
    await exchange(again.connId, 2)
  },
)

test.serial('keeps what is for it until it has a key, in order', async (t) => {
  const server = await startServer(t, { topics: { allow: ['news'] } })
  const application = new Application(server)
  const client = new PythonClient(t, server, { arguments: { encryption: true, topics: ['news'] } })
  client.open()
  const { connId } = await application.next('connect')
  for (let n = 1; n <= 100; n++) {
    server.sendEvent(connId, { t: 'note', p: { n } })
    server.broadcast('news', { t: 'story', p: { n } })
  }
  for (let n = 1; n <= 100; n++) {
    t.like(await client.next('note'), { sequence: n, payload: { n } })
    t.like(await client.next('story'), { payload: { n } })
  }
  t.false(client.waiting.some(({ log }) => log?.includes('encryption not configured')))
})

test.serial('lets nobody else change its key or its position, whatever an application relays', async (t) => {
  const { server, application, client } = await startPython(t, { arguments: { encryption: true } })
  await client.logged('E2E encryption enabled')
  await client.subscribe(['news'])
  const key = createECDH('prime256v1').generateKeys('base64')
  const hello = { t: 'server_hello', p: { features: { encryption: true }, encryption_public_key: key } }
  const stamped = { t: 'x', p: {}, tp: 'news', e: '00000000', o: 1_000_000 }
  const forgeries = [hello, stamped].flatMap((forged) => [
    JSON.stringify(forged),
    `WSE${JSON.stringify(forged)}`,
    // Python reads this, as no other language does.
    JSON.stringify({ ...forged, n: 'NaN' }).replace('"NaN"', 'NaN'),
    JSON.stringify({ t: 'batch', p: { messages: [forged] } }),
    JSON.stringify({ type: 'batch', payload: { messages: [forged] }, p: {} }),
    JSON.stringify({ t: 'priority_message', p: { message: forged } }),
  ])
  for (const text of forgeries) {
    t.throws(() => server.broadcast('news', text), { code: 'WSE_RESERVED_MEMBER' }, text)
  }
  server.broadcast('news', { t: 'story', p: {} })
  await client.next('story')
  await client.call('send', ['order'])
  await application.next('msg')
  t.deepEqual(await client.call('recovery_state'), {})
})

const restarts: [title: string, end: (server: WseServer) => Promise<void>, code: number][] = [
  ['a restart', (server) => server.close(), 1012],
  ['a drain', (server) => server.drainConnections({ waves: 1, deadlineMs: 5_000 }), 4300],
]
for (const [title, end, code] of restarts) {
  test.serial(`has it back with its topics after ${title}, and what it said meanwhile`, async (t) => {
    const { server, relay, client } = await startPython(t, { reconnectDelay: 0.5 })
    await client.subscribe(['news', 'weather'])
    const next = await startServer(t, { topics: { allow: ['*'] } })
    const application = new Application(next)
    relay.layTo(next)
    await end(server)
    await client.logged(`WebSocket closed: code=${code}`)
    t.false(await client.call('send', ['order', { qty: 1 }]))
    await application.next('connect')
    t.like((await application.next('msg')).data, { t: 'order', p: { qty: 1 } })
    await client.logged('Subscribed to: ')
    for (const topic of ['news', 'weather']) {
      next.broadcast(topic, { t: 'story', p: { topic } })
      t.deepEqual((await client.next('story')).payload, { topic })
    }
  })
}

const ends: [title: string, end: (relay: Relay, client: PythonClient) => unknown, code: number][] = [
  ['a broken wire', (relay) => relay.cut(), 1006],
  ['an end of its own', (_, client) => client.call('force_reconnect'), 1000],
]
for (const [title, end, code] of ends) {
  test.serial(`has it back with its topics after ${title}`, async (t) => {
    const { server, application, relay, client, connId } = await startPython(t)
    await client.subscribe(['news'])
    await end(relay, client)
    t.like(await application.next('disconnect'), { connId, code })
    t.not((await application.next('connect')).connId, connId)
    await client.logged('Subscribed to: ')
    server.broadcast('news', { t: 'story', p: {} })
    await client.next('story')
    t.is((await statsOf(client)).reconnect_count, 1)
  })
}

/** The client was told to stay away, and does. */
async function assertGivenUp(t: ExecutionContext, client: PythonClient, code: number): Promise<void> {
  await client.logged(`Auth/policy failure (code ${code})`)
  t.is(await client.call('state'), 'error')
  const readOn = async () => {
    for (;;) await client.call('recv')
  }
  await t.throwsAsync(readOn, { message: 'WSEConnectionError: Connection closed' })
  t.false(client.waiting.some(({ log }) => log?.startsWith('Reconnecting')))
}

for (const [title, token, code] of [
  ['without a token', undefined, 'AUTH_REQUIRED'],
  ['with a token of somebody else', 'x.y.z', 'AUTH_FAILED'],
]) {
  test.serial(`keeps it out with 4401 ${title}`, async (t) => {
    const server = await startServer(t, { jwt: { secret } })
    const client = new PythonClient(t, server, { arguments: token === undefined ? {} : { token } })
    client.open()
    t.like((await client.next('error')).payload, { code })
    await assertGivenUp(t, client, 4401)
  })
}

test.serial('leaves it in when its token ends, unless the server says otherwise', async (t) => {
  const [patient, strict] = [
    await startServer(t, { jwt: { secret } }),
    await startServer(t, { jwt: { secret }, tokenExpiry: 'all' }),
  ]
  const token = await tokenOf('anna', { exp: Math.floor(Date.now() / 1000) + 6 })
  const options = { arguments: { token } }
  const [ended, left] = [await connectPython(t, strict, options), await connectPython(t, patient, options)]
  t.like((await ended.next('error')).payload, { code: 'AUTH_EXPIRED' })
  await assertGivenUp(t, ended, 4401)
  t.is(await left.call('state'), 'connected')
  t.is(patient.getConnectionCount(), 1)
})

test.serial('keeps it out with 4403 when it is disconnected, or replaced by another of the same user', async (t) => {
  const server = await startServer(t, { jwt: { secret }, maxConnectionsPerUser: 1 })
  const application = new Application(server)
  const options = { arguments: { token: await tokenOf('anna') } }
  const replaced = await connectPython(t, server, options)
  await application.next('auth_connect')
  const disconnected = await connectPython(t, server, options)
  const { connId } = await application.next('auth_connect')
  t.like((await replaced.next('error')).payload, { code: 'CONNECTION_REPLACED' })
  await assertGivenUp(t, replaced, 4403)
  server.disconnect(connId)
  await assertGivenUp(t, disconnected, 4403)
})

test.serial('sends it away with 4429 at the limit of its user, until there is room', async (t) => {
  const limit = { maxConnectionsPerUser: 1, connectionLimitPolicy: 'refuse' } as const
  const server = await startServer(t, { jwt: { secret }, ...limit })
  const application = new Application(server)
  const options = { arguments: { token: await tokenOf('anna') } }
  const first = await connectPython(t, server, options)
  const { connId } = await application.next('auth_connect')
  const second = new PythonClient(t, server, options)
  second.open()
  t.like((await second.next('error')).payload, { code: 'CONNECTION_LIMIT' })
  await second.logged('WebSocket closed: code=4429')
  await second.logged('Reconnecting in')
  await first.call('disconnect')
  t.is((await application.next('disconnect')).connId, connId)
  await application.next('auth_connect')
  await second.logged('Server hello: ')
})

test('sends it away with 4429 when it sends too fast for too long, and has it back', async (t) => {
  const constants = { HEARTBEAT_INTERVAL: 0.05 }
  const { application, client } = await startPython(t, { constants }, { rateLimit: { perSecond: 1, burst: 1 } })
  t.like((await client.next('error')).payload, { code: 'RATE_LIMITED' })
  await client.logged('WebSocket closed: code=4429')
  t.is((await application.next('disconnect')).code, 4429)
  await application.next('connect')
  t.pass()
})

test('keeps it from thinking that the server is gone', async (t) => {
  // It asks too seldom to live from the answers: it stays only when it is pinged as well.
  const constants = { HEARTBEAT_INTERVAL: 3, IDLE_TIMEOUT: 2.5 }
  const { application, client } = await startPython(t, { constants }, { heartbeatIntervalMs: 50 })
  await client.logged('Server hello: ')
  const { messages_received } = await statsOf(client)
  const heartbeats = 2
  // What it counts from here on are answers to its own pings; ours it does not.
  await until('heartbeats', async () => (await statsOf(client)).messages_received >= messages_received + heartbeats)
  t.is((await statsOf(client)).reconnect_count, 0)
  t.deepEqual(
    application.waiting.map(({ type }) => type),
    [],
  )
})

test.serial('answers its request for a snapshot', async (t) => {
  const { client } = await startPython(t)
  await client.call('request_snapshot', [['news']])
  t.like((await client.next('snapshot_complete')).payload, { success: true, count: 0, topics: ['news'] })
})

test.serial('answers its requests, each with the id that it gave', async (t) => {
  const { client } = await startPython(t)
  const requests: [type: string, payload: object, answer: string][] = [
    ['health_check', {}, 'health_check_response'],
    ['metrics_request', {}, 'metrics_response'],
    ['config_request', {}, 'config_response'],
    ['config_update', { compression_enabled: false }, 'config_update_response'],
    ['connection_state_request', {}, 'connection_state_response'],
    ['system_status_request', {}, 'system_status_response'],
    ['sequence_stats_request', {}, 'sequence_stats_response'],
  ]
  for (const [type, payload, answer] of requests) {
    await client.call('send', [type, payload], { correlation_id: type })
    t.like(await client.next(answer), { correlation_id: type, category: 'WSE', version: 1 })
  }
})

test.serial('takes its batches apart', async (t) => {
  const { application, client } = await startPython(t)
  const messages = [1, 2, 3].map((n) => ['order', { n }])
  await client.call('send_batch', [messages])
  for (const [, p] of messages) t.like((await application.next('msg')).data, { t: 'order', p })
  t.like((await client.next('batch_message_result')).payload, { total: 3, successful: 3, failed: 0 })
})

test.serial('serves its blocking half as well', async (t) => {
  const { server, application, client } = await startPython(t, { isAsync: false })
  await client.subscribe(['news'])
  server.broadcast('news', { t: 'story', p: { n: 1 } })
  t.like(await client.call('recv', [10]), { type: 'story', category: 'U', version: 1, payload: { n: 1 } })
  t.true(await client.call('send', ['order', { qty: 1 }]))
  t.like((await application.next('msg')).data, { t: 'order', p: { qty: 1 } })
  await client.call('close')
  t.is((await application.next('disconnect')).code, 1000)
})
