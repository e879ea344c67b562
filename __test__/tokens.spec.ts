// Tokens that are signed with a private key: RS256 and ES256, made and checked by third-party libraries.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import test from 'ava'
import { createLocalJWKSet, importSPKI, type JSONWebKeySet, jwtVerify } from 'jose'
import { decodeJwt, encodeJwt, type JwtOptions } from 'wse-server'
import { connect } from './harness/connect.js'
import { Application, startServer } from './harness/server.js'
import { Signer, secret, tokenOf } from './harness/tokens.js'

/** The part that is used of a library without types. */
const jsonwebtoken = createRequire(import.meta.url)('jsonwebtoken') as {
  sign(claims: object, key: string, options: { algorithm: string; expiresIn: number }): string
}

const now = () => Math.floor(Date.now() / 1000)
const rsa = new Signer('RS256', 'rsa')
const elliptic = new Signer('ES256', 'elliptic')

for (const signer of [rsa, elliptic]) {
  const { alg, publicPem: publicKey, privatePem } = signer
  const jwt: JwtOptions = { publicKey, algorithm: alg }

  test(`takes tokens that two other libraries signed with ${alg}`, async (t) => {
    const server = await startServer(t, { jwt })
    const application = new Application(server)
    await connect(t, server, { token: await signer.tokenOf('anna', { team: 'red' }) })
    t.like(await application.next('auth_connect'), { userId: 'anna', claims: { team: 'red' } })
    const token = jsonwebtoken.sign({ sub: 'ben' }, privatePem, { algorithm: alg, expiresIn: 60 })
    await connect(t, server, { token })
    t.like(await application.next('auth_connect'), { userId: 'ben' })
  })

  test(`refuses tokens that are not of the ${alg} key, and serves the others`, async (t) => {
    const server = await startServer(t, { jwt })
    const healthy = await connect(t, server, { token: await signer.tokenOf('healthy') })
    const [head, claims] = (await signer.tokenOf('eve')).split('.')
    const tokens = [
      await new Signer(alg, signer.kid).tokenOf('eve'),
      await (signer === rsa ? elliptic : rsa).tokenOf('eve'),
      // The public key is known to everybody: it must be no secret.
      await tokenOf('eve', {}, { key: publicKey }),
      await tokenOf('eve'),
      `${head}.${claims}.`,
      `${Buffer.from('{"alg":"none"}').toString('base64url')}.${claims}.`,
    ]
    for (const token of tokens) {
      const offender = await connect(t, server, { token, greeted: false })
      t.is((await offender.next('error')).p.code, 'AUTH_FAILED', token)
      t.is((await offender.closed()).code, 4401)
    }
    await healthy.roundTrip()
  })

  test(`signs with ${alg} what another library accepts`, async (t) => {
    const claims = { sub: 'anna', iat: now(), exp: now() + 60 }
    const token = encodeJwt(claims, privatePem, { alg, kid: 'k1' })
    const { payload, protectedHeader } = await jwtVerify(token, await importSPKI(publicKey, alg))
    t.deepEqual(payload, claims)
    t.like(protectedHeader, { alg, kid: 'k1' })
    t.deepEqual(decodeJwt(token, jwt), claims)
  })

  test(`signs with no key that is not one of ${alg}`, (t) => {
    const claims = { sub: 'anna', iat: now(), exp: now() + 60 }
    const other = signer === rsa ? elliptic : rsa
    for (const key of [secret, '', publicKey, other.privatePem]) {
      t.throws(() => encodeJwt(claims, key, { alg }), { code: 'WSE_TOKEN_INVALID' }, key)
    }
  })
}

test('takes the public key of a certificate', async (t) => {
  const { generate } = await import('selfsigned')
  const { cert, private: key } = await generate([{ name: 'commonName', value: 'login' }], { algorithm: 'sha256' })
  const token = jsonwebtoken.sign({ sub: 'anna' }, key, { algorithm: 'RS256', expiresIn: 60 })
  t.is(decodeJwt(token, { publicKey: cert, algorithm: 'RS256' }).sub, 'anna')
})

test('signs with private keys in the older forms of PEM', async (t) => {
  const { createPrivateKey } = await import('node:crypto')
  const claims = { sub: 'anna', iat: now(), exp: now() + 60 }
  const older = { RS256: 'pkcs1', ES256: 'sec1' } as const
  for (const { alg, privatePem, publicPem } of [rsa, elliptic]) {
    const key = createPrivateKey(privatePem).export({ type: older[alg], format: 'pem' }) as string
    t.deepEqual(decodeJwt(encodeJwt(claims, key, { alg }), { publicKey: publicPem, algorithm: alg }), claims)
  }
})

test('says why a token is refused, to whoever has the keys', async (t) => {
  const options: JwtOptions = { secret, issuer: 'https://login.example', audience: 'desk' }
  const valid = { iss: 'https://login.example', aud: 'desk' }
  t.is(decodeJwt(await tokenOf('anna', valid), options).sub, 'anna')
  const refused: [claims: Record<string, unknown>, reason: RegExp][] = [
    [{ ...valid, exp: now() - 60 }, /expired/],
    [{ ...valid, nbf: now() + 60 }, /not valid yet/],
    [{ ...valid, sub: '' }, /sub/],
    [{ ...valid, iss: 'https://evil.example' }, /iss is not the expected/],
    [{ ...valid, iss: ['https://login.example', 'https://evil.example'] }, /iss is not the expected/],
    [{ iss: valid.iss }, /aud/],
  ]
  for (const [claims, message] of refused) {
    const token = await tokenOf('anna', claims)
    t.throws(() => decodeJwt(token, options), { code: 'WSE_TOKEN_INVALID', message })
  }
  const foreign = await tokenOf('anna', valid, { key: 'another secret that is long enough to sign' })
  t.throws(() => decodeJwt(foreign, options), { code: 'WSE_TOKEN_INVALID', message: /signed/ })
  t.throws(() => decodeJwt('no token', options), { code: 'WSE_TOKEN_INVALID' })
  t.throws(() => decodeJwt('x'.repeat(9_000), options), { code: 'WSE_TOKEN_INVALID', message: /8192/ })
})

test('decodes with the options of a server and with no others', (t) => {
  const jwks = 'https://login.example/keys'
  t.throws(() => decodeJwt('a.b.c', {}), { code: 'WSE_OPTION_INVALID' })
  t.throws(() => decodeJwt('a.b.c', { secret, key: 'x' } as never), { code: 'WSE_OPTION_UNKNOWN' })
  t.throws(() => decodeJwt('a.b.c', { jwks, algorithm: 'RS256' }), { code: 'WSE_OPTION_INVALID', message: /jwks/ })
  t.throws(() => decodeJwt(7 as never, { secret }), { code: 'WSE_OPTION_INVALID' })
})

interface Vectors {
  now_ms: number
  secret: string
  previous_secret: string
  sets: Record<string, JSONWebKeySet>
  tokens: { name: string; algorithm: string; keys: string; token: string; error: string | null }[]
}

test('agrees with another library on the vectors that the engine reads too', async (t) => {
  const file = new URL('../spec/vectors/token.json', import.meta.url)
  const { now_ms, secret, previous_secret, sets, tokens } = JSON.parse(readFileSync(file, 'utf8')) as Vectors
  /** What is ours alone: a `kid` of a secret, a subject that is empty, a `crit` that is null. */
  const ours = ['another key id, and the secret of now', 'no key id where one is configured', 'an empty subject']
  for (const { name, algorithm, keys, token, error } of tokens) {
    if (ours.includes(name)) continue
    const options = { algorithms: [algorithm], currentDate: new Date(now_ms), clockTolerance: 30 }
    const set = sets[keys]
    const encoder = new TextEncoder()
    const attempts = set
      ? [jwtVerify(token, createLocalJWKSet({ keys: set.keys.filter((key) => typeof key === 'object') }), options)]
      : [secret, previous_secret].map((key) => jwtVerify(token, encoder.encode(key), options))
    const outcomes = await Promise.allSettled(attempts)
    t.is(
      outcomes.some(({ status }) => status === 'fulfilled'),
      error === null,
      name,
    )
  }
})
