import { createHmac } from 'node:crypto'
import test from 'ava'
import { decodeJwt as decodeElsewhere, jwtVerify } from 'jose'
import { encodeJwt } from 'wse-server'
import { connect } from './harness/connect.js'
import { Application, startServer } from './harness/server.js'
import { secret, tokenOf } from './harness/tokens.js'

const now = () => Math.floor(Date.now() / 1000)
const jwt = { secret, issuer: 'https://login.example', audience: 'desk' }
const valid = { iss: 'https://login.example', aud: 'desk' }

const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
const unsigned = (header: object) => {
  const head = `${part(header)}.${part({ sub: 'anna', exp: now() + 600, ...valid })}`
  return `${head}.${createHmac('sha256', secret).update(head).digest('base64url')}`
}

const badTokens: [title: string, token: () => string | Promise<string> | undefined, code: string][] = [
  ['no token', () => undefined, 'AUTH_REQUIRED'],
  ['a token that is none', () => 'not-a-token', 'AUTH_FAILED'],
  [
    'a foreign signature',
    () => tokenOf('anna', valid, { key: 'another secret that is long enough to sign' }),
    'AUTH_FAILED',
  ],
  ['an expired token', () => tokenOf('anna', { ...valid, exp: now() - 60 }), 'AUTH_FAILED'],
  ['a token without exp', () => tokenOf('anna', { ...valid, exp: undefined }), 'AUTH_FAILED'],
  ['a token of the future', () => tokenOf('anna', { ...valid, nbf: now() + 300 }), 'AUTH_FAILED'],
  ['an oversize token', () => tokenOf('anna', { ...valid, padding: 'x'.repeat(8_192) }), 'AUTH_FAILED'],
  ['a token of another issuer', () => tokenOf('anna', { ...valid, iss: 'https://evil.example' }), 'AUTH_FAILED'],
  ['a token without issuer', () => tokenOf('anna', { aud: 'desk' }), 'AUTH_FAILED'],
  ['a token for another audience', () => tokenOf('anna', { ...valid, aud: ['shop', 'bank'] }), 'AUTH_FAILED'],
  ['a token without audience', () => tokenOf('anna', { iss: 'https://login.example' }), 'AUTH_FAILED'],
  ['a token without subject', () => tokenOf(undefined, valid), 'AUTH_FAILED'],
  ['a token with an empty subject', () => tokenOf('', valid), 'AUTH_FAILED'],
  [
    'the algorithm none',
    () => `${part({ alg: 'none' })}.${part({ sub: 'anna', exp: now() + 600, ...valid })}.`,
    'AUTH_FAILED',
  ],
  ['another algorithm than the configured one', () => unsigned({ alg: 'HS512' }), 'AUTH_FAILED'],
  [
    'a critical extension that nobody knows',
    () => unsigned({ alg: 'HS256', crit: ['b64'], b64: false }),
    'AUTH_FAILED',
  ],
]

for (const [title, token, code] of badTokens) {
  test(`refuses ${title} with ${code} and 4401, unseen by the application, and serves the others`, async (t) => {
    const server = await startServer(t, { jwt })
    const application = new Application(server)
    const healthy = await connect(t, server, { token: await tokenOf('healthy', valid) })
    await application.next('auth_connect')

    const bad = await token()
    const offender = await connect(t, server, { ...(bad === undefined ? {} : { token: bad }), greeted: false })
    const first = JSON.parse(await offender.nextText())
    t.is(first.t, 'error')
    t.is(first.p.code, code)
    t.is(typeof first.p.message, 'string')
    t.is((await offender.closed()).code, 4401)
    t.deepEqual(offender.waiting, [])

    await healthy.roundTrip()
    t.deepEqual(application.waiting, [])
  })
}

test('gives a token thirty seconds of leeway', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  await (await connect(t, server, { token: await tokenOf('anna', { exp: now() - 10 }) })).roundTrip()
})

test('takes an audience from a list', async (t) => {
  const server = await startServer(t, { jwt })
  await (await connect(t, server, { token: await tokenOf('anna', { ...valid, aud: ['shop', 'desk'] }) })).roundTrip()
})

test('tells the application who connected, with the claims of the token', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  const application = new Application(server)
  const connection = await connect(t, server, { token: await tokenOf('anna', { team: 'red' }) })
  const event = await application.next('auth_connect')
  t.is(event.connId, connection.id)
  t.is(event.userId, 'anna')
  t.like(event.claims, { sub: 'anna', team: 'red' })
})

test('prefers the cookie to the header and the header to the subprotocol', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  const application = new Application(server)
  const [cookie, header, protocol] = await Promise.all(['cookie', 'header', 'protocol'].map((name) => tokenOf(name)))
  const protocols = ['wse.v2', `wse.token.${protocol}`]
  const headers = { authorization: `bEARER ${header}`, cookie: `access_token=${cookie}` }

  await connect(t, server, { protocols, headers })
  t.is((await application.next('auth_connect')).userId, 'cookie')
  await connect(t, server, { protocols, headers: { authorization: headers.authorization } })
  t.is((await application.next('auth_connect')).userId, 'header')
  await connect(t, server, { protocols })
  t.is((await application.next('auth_connect')).userId, 'protocol')
})

for (const absent of ['undefined', 'null', '']) {
  test(`takes a cookie that says "${absent}" as absent`, async (t) => {
    const server = await startServer(t, { jwt: { secret } })
    const headers = { cookie: `access_token=${absent}` }
    await (await connect(t, server, { headers, token: await tokenOf('anna') })).roundTrip()
  })
}

test('reads the cookie that the option names', async (t) => {
  const server = await startServer(t, { jwt: { secret, cookieName: 'session' } })
  await (await connect(t, server, { headers: { cookie: `session=${await tokenOf('anna')}` } })).roundTrip()
})

test('asks the authenticate hook with the headers, the address and the peer of the request', async (t) => {
  const seen: unknown[] = []
  const server = await startServer(t, {
    authenticate: async (request) => {
      seen.push(request)
      return request.headers['x-api-key'] === 'key' ? { userId: 'anna', claims: { plan: 'gold' } } : null
    },
  })
  const application = new Application(server)
  const healthy = await connect(t, server, { headers: { 'x-api-key': 'key' }, path: '/wse?from=test' })
  t.like(seen[0], { url: '/wse?from=test', remoteAddress: '127.0.0.1' })
  const event = await application.next('auth_connect')
  t.is(event.userId, 'anna')
  t.deepEqual(event.claims, { plan: 'gold' })

  const offender = await connect(t, server, { greeted: false })
  t.is((await offender.next('error')).p.code, 'AUTH_FAILED')
  t.is((await offender.closed()).code, 4401)
  await healthy.roundTrip()
  t.deepEqual(application.waiting, [])
})

test('refuses a connection whose authenticate hook throws, and goes on', async (t) => {
  const server = await startServer(t, {
    authenticate: (request) => {
      if (request.headers['x-api-key'] === undefined) throw new Error('no key')
      return { userId: 'anna', claims: {} }
    },
  })
  new Application(server)
  const offender = await connect(t, server, { greeted: false })
  t.is((await offender.next('error')).p.code, 'AUTH_FAILED')
  t.is((await offender.closed()).code, 4401)
  await (await connect(t, server, { headers: { 'x-api-key': 'key' } })).roundTrip()
})

test('refuses a connection whose authenticate hook answers nonsense, and goes on', async (t) => {
  const answers: Record<string, unknown> = {
    empty: { userId: '' },
    number: { userId: 7 },
    text: 'anna',
    claims: { userId: 'anna', claims: { big: 1n } },
    list: { userId: 'anna', claims: [] },
  }
  const server = await startServer(t, {
    authenticate: ({ headers }) => answers[headers['x-case'] ?? ''] as never,
  })
  for (const name of Object.keys(answers)) {
    const offender = await connect(t, server, { headers: { 'x-case': name }, greeted: false })
    t.is((await offender.next('error')).p.code, 'AUTH_FAILED', name)
    t.is((await offender.closed()).code, 4401, name)
  }
})

test('refuses a connection whose authenticate hook does not decide within the handshake time', async (t) => {
  const server = await startServer(t, { handshakeTimeoutMs: 200, authenticate: () => new Promise(() => {}) })
  const application = new Application(server)
  const offender = await connect(t, server, { greeted: false })
  t.is((await offender.next('error')).p.code, 'AUTH_FAILED')
  t.is((await offender.closed()).code, 4401)
  t.deepEqual(application.waiting, [])
})

test('replaces the oldest connection of a user who has too many, and does not let two tabs fight', async (t) => {
  const server = await startServer(t, { jwt: { secret }, maxConnectionsPerUser: 2 })
  const token = await tokenOf('anna')
  const oldest = await connect(t, server, { token })
  const second = await connect(t, server, { token })
  const third = await connect(t, server, { token })
  t.is((await oldest.next('error')).p.code, 'CONNECTION_REPLACED')
  t.is((await oldest.closed()).code, 4403)

  const back = await connect(t, server, { token, greeted: false })
  t.is((await back.next('error')).p.code, 'CONNECTION_LIMIT')
  t.is((await back.closed()).code, 4429)
  await second.roundTrip()
  await third.roundTrip()
})

test('refuses the new connection of a user who has too many when the policy says so', async (t) => {
  const server = await startServer(t, { jwt: { secret }, maxConnectionsPerUser: 1, connectionLimitPolicy: 'refuse' })
  const token = await tokenOf('anna')
  const first = await connect(t, server, { token })
  const second = await connect(t, server, { token, greeted: false })
  t.is((await second.next('error')).p.code, 'CONNECTION_LIMIT')
  t.is((await second.closed()).code, 4429)
  await first.roundTrip()
  await (await connect(t, server, { token: await tokenOf('bert') })).roundTrip()
})

test('signs tokens that another library accepts, with exactly the claims that were given', async (t) => {
  const claims = { sub: 'anna', iat: now(), exp: now() + 60, roles: ['admin'] }
  const token = encodeJwt(claims, secret, { alg: 'HS256', kid: 'k1' })
  const { payload, protectedHeader } = await jwtVerify(token, new TextEncoder().encode(secret))
  t.deepEqual(payload, claims)
  t.like(protectedHeader, { alg: 'HS256', kid: 'k1' })
  t.deepEqual(decodeElsewhere(token), claims)
})

test('refuses to sign without iat or exp', (t) => {
  t.throws(() => encodeJwt({ sub: 'anna', iat: now() } as never, secret, { alg: 'HS256' }), {
    code: 'WSE_TOKEN_INVALID',
  })
  t.throws(() => encodeJwt({ sub: 'anna', exp: now() } as never, secret, { alg: 'HS256' }), {
    code: 'WSE_TOKEN_INVALID',
  })
})

test('refuses a secret that is too short for its algorithm', (t) => {
  t.throws(() => encodeJwt({ sub: 'a', iat: now(), exp: now() + 1 }, 'short', { alg: 'HS256' }), {
    code: 'WSE_TOKEN_INVALID',
  })
})

test('refuses to sign with an algorithm that it does not have, and does not repeat it: it may be a key', (t) => {
  for (const alg of ['HS512', secret]) {
    t.throws(() => encodeJwt({ sub: 'a', iat: now(), exp: now() + 1 }, secret, { alg } as never), {
      code: 'WSE_TOKEN_INVALID',
      message: 'alg: expected one of HS256, RS256, ES256',
    })
  }
})

test('reads a token from the query where the option allows it, after all other places', async (t) => {
  const server = await startServer(t, { jwt: { secret, queryParameter: true } })
  const application = new Application(server)
  const path = `/wse?token=${await tokenOf('query')}`
  await connect(t, server, { path })
  t.is((await application.next('auth_connect')).userId, 'query')
  await connect(t, server, { path, token: await tokenOf('header') })
  t.is((await application.next('auth_connect')).userId, 'header')

  const strict = await startServer(t, { jwt: { secret } })
  const offender = await connect(t, strict, { path, greeted: false })
  t.is((await offender.next('error')).p.code, 'AUTH_REQUIRED')
})

test('takes tokens of the secret before while both are about, and of no other', async (t) => {
  const previousSecret = 'the secret before it, of thirty-two bytes and more'
  const server = await startServer(t, { jwt: { secret, previousSecret } })
  await (await connect(t, server, { token: await tokenOf('anna') })).roundTrip()
  await (await connect(t, server, { token: await tokenOf('ben', {}, { key: previousSecret }) })).roundTrip()
  const token = await tokenOf('eve', {}, { key: 'another secret that is long enough to sign' })
  t.is((await (await connect(t, server, { token, greeted: false })).closed()).code, 4401)
})

test('holds the key id of a token against the one that is configured', async (t) => {
  const server = await startServer(t, { jwt: { secret, keyId: 'new' } })
  await (await connect(t, server, { token: await tokenOf('anna', {}, { header: { kid: 'new' } }) })).roundTrip()
  for (const header of [{}, { kid: 'old' }]) {
    const offender = await connect(t, server, { token: await tokenOf('anna', {}, { header }), greeted: false })
    t.is((await offender.closed()).code, 4401)
  }
})
