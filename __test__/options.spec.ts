import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { WseServer } from 'wse-server'
import { startServer } from './harness/server.js'
import { Signer } from './harness/tokens.js'

const later = ['redis']
for (const option of [...later, 'pathh', 'Path']) {
  test(`refuses the option ${option} by name, because this version does not know it`, (t) => {
    const error = t.throws(() => new WseServer({ [option]: {} } as never), { code: 'WSE_OPTION_UNKNOWN' })
    t.regex(error?.message ?? '', new RegExp(option))
  })
}

test('refuses options that a call does not know, and what is no object', async (t) => {
  const server = await startServer(t)
  const wse = new WseServer()
  const calls: ((options: never) => unknown)[] = [
    (options) => server.setCallbacks({}, options),
    (options) => wse.attach(createServer(), options),
    (options) => server.sendEvent('nobody', { t: 'x' }, options),
    (options) => server.issueToken('nobody', options),
    (options) => server.presence('news', options),
  ]
  for (const call of calls) {
    const error = t.throws(() => call({ prioriy: 8 } as never), { code: 'WSE_OPTION_UNKNOWN' }, String(call))
    t.regex(error?.message ?? '', /prioriy/)
    t.throws(() => call(7 as never), { code: 'WSE_OPTION_INVALID' }, String(call))
  }
  t.throws(() => server.setTopicRules(undefined as never), { code: 'WSE_OPTION_INVALID' }, 'all rules would go')
  t.throws(() => server.sendEvent('nobody', { t: 'x' }, null as never), { code: 'WSE_OPTION_INVALID' })
  await t.throwsAsync(server.publish('news', { t: 'x' }, { prioriy: 8 } as never), { code: 'WSE_OPTION_UNKNOWN' })
})

test('refuses an unknown option inside another one', (t) => {
  const error = t.throws(() => new WseServer({ outbound: { maxByte: 1 } } as never), { code: 'WSE_OPTION_UNKNOWN' })
  t.regex(error?.message ?? '', /outbound\.maxByte/)
})

const elliptic = new Signer('ES256', '').publicPem

const longKey = (kid: string) => ({ kid, secret: 's'.repeat(32) })

const invalid: [path: string, options: object][] = [
  ['path', { path: 'wse' }],
  ['path', { path: 1 }],
  ['jwt.secret', { jwt: { secret: 'short' } }],
  ['jwt.secret', { jwt: {} }],
  ['jwt.secret', { jwt: { secret: 7 } }],
  ['jwt.secret', { jwt: { secret: '-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE' } }],
  ['jwt.previousSecret', { jwt: { secret: 'x'.repeat(32), previousSecret: 'short' } }],
  ['jwt.previousSecret', { jwt: { publicKey: elliptic, algorithm: 'ES256', previousSecret: 'x'.repeat(32) } }],
  ['jwt.algorithm', { jwt: { secret: 'x'.repeat(32), algorithm: 'none' } }],
  ['jwt.algorithm', { jwt: { secret: 'x'.repeat(32), algorithm: 'RS256' } }],
  ['jwt.algorithm', { jwt: { publicKey: elliptic } }],
  ['jwt.algorithm', { jwt: { publicKey: elliptic, algorithm: 'HS256' } }],
  ['jwt.algorithm', { jwt: { jwks: 'https://login.example/keys' } }],
  ['jwt.publicKey', { jwt: { publicKey: 'x'.repeat(32), algorithm: 'RS256' } }],
  ['jwt.publicKey', { jwt: { publicKey: elliptic, algorithm: 'RS256' } }],
  ['jwt.publicKey', { jwt: { publicKey: new Signer('ES256', '', { curve: 'P-384' }).publicPem, algorithm: 'ES256' } }],
  ['jwt.publicKey', { jwt: { publicKey: new Signer('RS256', '', { bits: 1_024 }).publicPem, algorithm: 'RS256' } }],
  ['jwt.publicKey', { jwt: { publicKey: new Signer('ES256', '').privatePem, algorithm: 'ES256' } }],
  ['jwt.secret', { jwt: { secret: 'x'.repeat(32), publicKey: elliptic } }],
  ['jwt.jwks', { jwt: { jwks: 'http://login.example/keys', algorithm: 'RS256' } }],
  ['jwt.jwks', { jwt: { jwks: 'ftp://login.example/keys', algorithm: 'RS256' } }],
  ['jwt.jwks', { jwt: { jwks: 'https://anna:secret@login.example/keys', algorithm: 'RS256' } }],
  ['jwt.jwks', { jwt: { jwks: '/nowhere/keys.json', algorithm: 'RS256' } }],
  ['jwt.jwks', { jwt: { jwks: fileURLToPath(import.meta.url), algorithm: 'RS256' } }],
  ['jwt.keyId', { jwt: { jwks: 'https://login.example/keys', algorithm: 'RS256', keyId: 'a' } }],
  ['jwt.queryParameter', { jwt: { secret: 'x'.repeat(32), queryParameter: 'token' } }],
  ['maxConnections', { maxConnections: -1 }],
  ['maxConnections', { maxConnections: 1.5 }],
  ['maxConnections', { maxConnections: '10' }],
  ['maxConnections', { maxConnections: Number.NaN }],
  ['connectionLimitPolicy', { connectionLimitPolicy: 'fight' }],
  ['allowedOrigins', { allowedOrigins: 'https://app.example' }],
  ['rateLimit', { rateLimit: true }],
  ['rateLimit.perSecond', { rateLimit: { perSecond: -1 } }],
  ['outbound.maxBytes', { outbound: { maxBytes: Number.POSITIVE_INFINITY } }],
  ['topics.allow', { topics: { allow: 'chat' } }],
  ['topicPolicies', { topicPolicies: { topics: ['*'] } }],
  ['topicPolicies[0].topics', { topicPolicies: [{}] }],
  ['topicPolicies[0].priority', { topicPolicies: [{ topics: ['*'], priority: 4 }] }],
  ['topicPolicies[1].overflow', { topicPolicies: [{ topics: ['a'] }, { topics: ['*'], overflow: { ring: 0 } }] }],
  ['topicPolicies[0].overflow', { topicPolicies: [{ topics: ['*'], overflow: { ring: 1, latest: true } }] }],
  ['topicPolicies[0].overflow', { topicPolicies: [{ topics: ['*'], overflow: { latest: '' } }] }],
  ['topicPolicies[0].overflow', { topicPolicies: [{ topics: ['*'], overflow: 'wait' }] }],
  [
    'topicPolicies[0]',
    { recovery: { topics: ['prices:*'] }, topicPolicies: [{ topics: ['*:fx'], overflow: { latest: true } }] },
  ],
  ['recovery.topics', { recovery: { topics: ['a'] }, topicPolicies: [{ topics: ['?'], deadlineMs: 5 }] }],
  ['topicPolicies[0].blockMs', { topicPolicies: [{ topics: ['*'], blockMs: 5 }] }],
  ['topicPolicies[0].deadlineMs', { topicPolicies: [{ topics: ['*'], deadlineMs: -1 }] }],
  ['topicPolicies[0].recovery', { topicPolicies: [{ topics: ['*'], recovery: true, deadlineMs: 5 }] }],
  ['topicPolicies[0].overflow', { topicPolicies: [{ topics: ['*'], recovery: true, overflow: { ring: 5 } }] }],
  ['signing.keys', { signing: { types: ['*'] } }],
  ['signing.keys', { signing: { keys: [], types: ['*'] } }],
  ['signing.keys[0]', { signing: { keys: [{ kid: 'a' }], types: ['*'] } }],
  ['signing.keys[0]', { signing: { keys: [{ kid: 'a', secret: 'short' }], types: ['*'] } }],
  ['signing.keys[1]', { signing: { keys: [longKey('a'), longKey('k'.repeat(65))], types: ['*'] } }],
  ['signing.keys', { signing: { keys: [longKey('a'), longKey('a')], types: ['*'] } }],
  ['signing.types', { signing: { keys: [longKey('a')] } }],
  ['signing.types', { signing: { keys: [longKey('a')], types: [] } }],
  ['signing.require', { signing: { keys: [longKey('a')], types: ['*'], require: 'v1' } }],
  ['signing', { envelope: false, signing: { keys: [longKey('a')], types: ['*'] } }],
  ['signing', { mode: 'echo', signing: { keys: [longKey('a')], types: ['*'] } }],
  ['tickets.secret', { tickets: { secret: 'short' } }],
  ['admission.perSecond', { admission: { burst: 5 } }],
  ['admission.perSecond', { admission: { perSecond: 2e9 } }],
  ['admission.burst', { admission: { perSecond: 1, burst: 2e9 } }],
  ['tickets.secret', { tickets: { secret: 7 } }],
  ['envelope', { envelope: 'no' }],
  ['perMessageDeflate', { perMessageDeflate: 'yes' }],
  ['perMessageDeflate', { perMessageDeflate: true, compression: false }],
  ['perMessageDeflate.serverMaxWindowBits', { perMessageDeflate: { serverMaxWindowBits: 8 } }],
  ['perMessageDeflate.clientMaxWindowBits', { perMessageDeflate: { clientMaxWindowBits: 16 } }],
  ['perMessageDeflate.serverContextTakeover', { perMessageDeflate: { serverContextTakeover: 1 } }],
  ['mode', { mode: 'mirror' }],
  ['jwt', { mode: 'echo', jwt: { secret: 'x'.repeat(32) } }],
  ['authenticate', { mode: 'echo', authenticate: async () => null }],
  ['envelope', { mode: 'echo', envelope: true }],
  ['authenticate', { authenticate: {} }],
  ['heartbeatIntervalMs', { heartbeatIntervalMs: -5 }],
  ['logger', { logger: { info: 1 } }],
  ['logger', { logger: null }],
  ['logLevel', { logLevel: 'loud' }],
]

/** Keys differ in each run: their beginning is enough, and a number keeps titles apart. */
let number = 0
const titleOf = (options: object) =>
  JSON.stringify(options, (_, value) =>
    typeof value === 'string' && value.startsWith('-----') ? `${value.slice(0, 30)}… ${++number}` : value,
  )

for (const [path, options] of invalid) {
  test(`refuses ${titleOf(options)} and names ${path}`, (t) => {
    const error = t.throws(() => new WseServer(options as never), { code: 'WSE_OPTION_INVALID' })
    t.true(error?.message.includes(path), error?.message)
  })
}

test('refuses two answers to who may connect', (t) => {
  const options = { jwt: { secret: 'x'.repeat(32) }, authenticate: async () => null }
  t.throws(() => new WseServer(options), { code: 'WSE_OPTION_INVALID' })
})

test('takes zero as off wherever a limit is a number', (t) => {
  const options = {
    maxConnections: 0,
    maxConnectionsPerUser: 0,
    maxConnectionAgeMs: 0,
    handshakeTimeoutMs: 0,
    maxHandshakes: 0,
    heartbeatIntervalMs: 0,
    idleTimeoutMs: 0,
    rateLimit: { perSecond: 0, burst: 0 },
    maxMessageBytes: 0,
    maxFragments: 0,
    memoryBudgetBytes: 0,
    outbound: { maxMessages: 0, maxBytes: 0, slowTimeoutMs: 0 },
    inbound: { maxBytes: 0, maxBytesPerConnection: 0 },
  }
  t.notThrows(() => new WseServer(options))
})

test('takes a configuration that nobody may change', (t) => {
  const options = {
    allowedOrigins: ['https://app.example'],
    topics: { allow: ['news'], deny: ['secret'] },
    subscribeOnConnect: ['news'],
    recovery: { topics: ['news'] },
    signing: { keys: [{ kid: 'a', secret: 's'.repeat(32) }], types: ['order_*'] },
    topicPolicies: [{ topics: ['prices'], overflow: { latest: 'symbol' } }],
  } as const
  t.notThrows(() => new WseServer(options))
})

test('takes an option that is undefined as absent', (t) => {
  t.notThrows(() => new WseServer({ path: undefined, jwt: undefined } as never))
})

for (const port of [undefined, Number.NaN, -1, 70_000, 1.5, '80']) {
  test(`refuses to listen on the port ${port}`, async (t) => {
    const server = new WseServer()
    t.teardown(() => server.close())
    const error = await t.throwsAsync(server.listen({ port } as never), { code: 'WSE_OPTION_INVALID' })
    t.regex(error?.message ?? '', /listen\.port/)
  })
}

for (const tls of [
  {},
  { cert: 'a' },
  { cert: 7, key: 8 },
  { certFile: 'a' },
  { certFile: 'a', keyFile: 'b', key: 'c' },
  'a.pem',
  null,
]) {
  test(`refuses to listen with tls ${JSON.stringify(tls)}`, async (t) => {
    const server = new WseServer()
    t.teardown(() => server.close())
    const error = await t.throwsAsync(server.listen({ port: 0, tls } as never), { code: 'WSE_OPTION_INVALID' })
    t.regex(error?.message ?? '', /listen\.tls/)
  })
}

test('refuses to listen with an option that it does not know', async (t) => {
  const server = new WseServer()
  t.teardown(() => server.close())
  await t.throwsAsync(server.listen({ port: 0, backlog: 7 } as never), { code: 'WSE_OPTION_UNKNOWN' })
  t.false(server.isRunning())
})

test('refuses arguments of another type with a code', async (t) => {
  const server = new WseServer()
  t.teardown(() => server.close())
  const anything = server as unknown as Record<string, (...args: unknown[]) => unknown>
  const circular: Record<string, unknown> = {}
  circular.itself = circular
  for (const message of [undefined, 7, circular, { t: 'big', p: 1n }]) {
    t.throws(() => anything.broadcast?.('chat', message), { code: 'WSE_MESSAGE_INVALID' }, String(message))
  }
  t.throws(() => anything.broadcastAll?.(7), { code: 'WSE_MESSAGE_INVALID' })
  t.throws(() => anything.broadcastAllBytes?.('text'), { code: 'WSE_MESSAGE_INVALID' })
  t.throws(() => anything.broadcast?.(7, 'text'), { code: 'WSE_TOPIC_INVALID' })
  t.throws(() => anything.sendToUser?.(7, 'text'), { code: 'WSE_OPTION_INVALID' })
  t.throws(() => anything.unsubscribeConnection?.('nobody', 'chat'), { code: 'WSE_OPTION_INVALID' })
  t.is(anything.getTopicSubscriberCount?.(7), 0)
  t.is(anything.getConnectionInfo?.(7), null)
  t.false(anything.send?.(7, 'text'))
})
