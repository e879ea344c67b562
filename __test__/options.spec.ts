import test from 'ava'
import { WseServer } from 'wse-server'

const later = ['recovery', 'presence', 'redis', 'compression', 'perMessageDeflate', 'subscribeOnConnect', 'tickets']
for (const option of [...later, 'pathh', 'Path']) {
  test(`refuses the option ${option} by name, because this version does not know it`, (t) => {
    const error = t.throws(() => new WseServer({ [option]: {} } as never), { code: 'WSE_OPTION_UNKNOWN' })
    t.regex(error?.message ?? '', new RegExp(option))
  })
}

test('refuses an unknown option inside another one', (t) => {
  const error = t.throws(() => new WseServer({ outbound: { maxByte: 1 } } as never), { code: 'WSE_OPTION_UNKNOWN' })
  t.regex(error?.message ?? '', /outbound\.maxByte/)
})

const invalid: [path: string, options: object][] = [
  ['path', { path: 'wse' }],
  ['path', { path: 1 }],
  ['jwt.secret', { jwt: { secret: 'short' } }],
  ['jwt.secret', { jwt: {} }],
  ['jwt.algorithm', { jwt: { secret: 'x'.repeat(32), algorithm: 'none' } }],
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
  ['envelope', { envelope: 'no' }],
  ['authenticate', { authenticate: {} }],
  ['heartbeatIntervalMs', { heartbeatIntervalMs: -5 }],
]

for (const [path, options] of invalid) {
  test(`refuses ${JSON.stringify(options)} and names ${path}`, (t) => {
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

test('takes an option that is undefined as absent', (t) => {
  t.notThrows(() => new WseServer({ path: undefined, jwt: undefined } as never))
})
