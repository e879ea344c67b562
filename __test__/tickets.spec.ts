// Tokens that the server gives out, for whoever acts for a connection beside its socket, and for topics.
import { createHmac, hkdfSync } from 'node:crypto'
import test from 'ava'
import { connect } from './harness/connect.js'
import { Application, startServer } from './harness/server.js'
import { secret, tokenOf } from './harness/tokens.js'

const HOUR = 3_600_000

test('issues a token that says whose connection it is for, for a day', async (t) => {
  const server = await startServer(t, { authenticate: () => ({ userId: 'anna' }) })
  const { id } = await connect(t, server)
  const from = Date.now()
  const token = server.issueToken(id)
  t.is(typeof token, 'string')
  const verified = server.verifyToken(String(token))
  t.like(verified, { userId: 'anna', connId: id, topics: [] })
  const end = verified?.expiresAt.getTime() ?? 0
  t.true(end >= from + 24 * HOUR && end <= Date.now() + 24 * HOUR)
  const own = server.verifyToken(String(server.issueToken(id, { topics: ['room:1'] })), 'topic')
  t.deepEqual(own?.topics, ['room:1'])
  t.true((own?.expiresAt.getTime() ?? 0) <= Date.now() + HOUR)
})

test('issues no token for a connection that is gone, and none that outlives the token of its user', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  const application = new Application(server)
  const exp = Math.floor(Date.now() / 1000) + 300
  const connection = await connect(t, server, { token: await tokenOf('anna', { exp }) })
  const token = server.issueToken(connection.id)
  t.is(server.verifyToken(String(token))?.expiresAt.getTime(), exp * 1_000)
  await connection.close()
  await application.next('disconnect')
  t.is(server.issueToken(connection.id), null)
  t.is(server.issueToken('no connection'), null)
  t.truthy(server.verifyToken(String(token)), 'a token outlives the connection that it was issued for')
})

test('takes a token for nothing but what it is: no type for the other, no token for a login, no login for a token', async (t) => {
  const shared = 'one secret for both, which nobody should do, with 32 bytes'
  const server = await startServer(t, { jwt: { secret: shared }, tickets: { secret: shared } })
  const login = await tokenOf('anna', {}, { key: shared })
  const { id } = await connect(t, server, { token: login })
  const session = String(server.issueToken(id))
  const topic = String(server.issueToken(id, { topics: ['room:1'] }))
  t.is(server.verifyToken(session, 'topic'), null)
  t.is(server.verifyToken(topic), null)
  for (const type of ['session', 'topic'] as const) t.is(server.verifyToken(login, type), null)
  for (const token of [session, topic, `${session}.${topic.split('.')[1]}`, `e30.${session}`]) {
    const refused = await connect(t, server, { token, greeted: false })
    t.is((await refused.next('error')).p.code, 'AUTH_FAILED')
    t.is((await refused.closed()).code, 4401)
  }
  // Nor would it be one if somebody signed the same content with the secret itself.
  const [content = ''] = session.split('.')
  t.is(server.verifyToken(`${content}.${createHmac('sha256', shared).update(content).digest('base64url')}`), null)
  const key = Buffer.from(hkdfSync('sha256', shared, '', 'wse-tickets/hmac-key', 32))
  t.is(session, `${content}.${createHmac('sha256', key).update(content).digest('base64url')}`)
})

test('knows the tokens of another instance with the same secret, and of no other', async (t) => {
  const tickets = { secret: 'a secret that the instances share, of 32 bytes' }
  const [one, other, stranger] = [
    await startServer(t, { tickets }),
    await startServer(t, { tickets }),
    await startServer(t),
  ]
  const { id } = await connect(t, one)
  const token = String(one.issueToken(id))
  t.like(other.verifyToken(token), { userId: null, connId: id })
  t.is(stranger.verifyToken(token), null)
  t.is(one.verifyToken(`${token}x`), null)
  t.is(one.verifyToken(''), null)
})

test('takes back the tokens of a user, and those alone', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  const [anna, ben] = [
    await connect(t, server, { token: await tokenOf('anna') }),
    await connect(t, server, { token: await tokenOf('ben') }),
  ]
  const [of_anna, of_ben] = [String(server.issueToken(anna.id)), String(server.issueToken(ben.id))]
  server.revokeTokens('anna')
  t.is(server.verifyToken(of_anna), null)
  t.truthy(server.verifyToken(of_ben))
  t.truthy(server.verifyToken(String(server.issueToken(anna.id))), 'what is issued afterwards is good')
  await anna.roundTrip()
})

test('lets the user of a topic token subscribe, on any connection of hers, and nobody else', async (t) => {
  const server = await startServer(t, { jwt: { secret }, topics: { deny: ['secret:*'] } })
  const token = await tokenOf('anna')
  const [anna, again] = [await connect(t, server, { token }), await connect(t, server, { token })]
  const ben = await connect(t, server, { token: await tokenOf('ben') })
  const grant = server.issueToken(anna.id, { topics: ['room:1', 'secret:1'] })
  const ask = async (connection: typeof anna, topics: string[], tokens?: unknown) => {
    connection.send({ t: 'subscription_update', p: { action: 'subscribe', topics, tokens } })
    return (await connection.next('subscription_update')).p
  }
  t.like(await ask(anna, ['room:1']), { success: false, failed_topics: ['room:1'] })
  t.like(await ask(anna, ['room:1', 'room:2', 'secret:1'], [grant]), {
    success_topics: ['room:1'],
    failed_topics: ['room:2', 'secret:1'],
  })
  t.like(await ask(again, ['room:1'], ['junk', grant]), { success_topics: ['room:1'] })
  t.like(await ask(ben, ['room:1'], [grant]), { success: false })
  t.like(await ask(anna, ['room:2'], [server.issueToken(anna.id)]), { success: false })
  server.broadcast('room:1', { t: 'hello' })
  for (const connection of [anna, again]) await connection.next('hello')
})

test('refuses to issue what no token can say', async (t) => {
  const server = await startServer(t)
  const { id } = await connect(t, server)
  t.throws(() => server.issueToken(id, { topics: 'room' as never }), { code: 'WSE_OPTION_INVALID' })
  t.throws(() => server.issueToken(id, { topics: undefined as never }), { code: 'WSE_OPTION_INVALID' })
  t.throws(() => server.issueToken(id, { topic: 'room' } as never), { code: 'WSE_OPTION_UNKNOWN' })
  t.throws(() => server.verifyToken('', 'resume' as never), { code: 'WSE_OPTION_INVALID' })
  t.throws(() => server.issueToken(id, { topics: [''] }), { code: 'WSE_TOPIC_INVALID' })
  t.throws(() => server.issueToken(id, { topics: ['room:*'] }), { code: 'WSE_TOKEN_INVALID' })
  const many = Array.from({ length: 100 }, (_, n) => `${n}`.padEnd(200, 'x'))
  t.throws(() => server.issueToken(id, { topics: many }), { code: 'WSE_TOKEN_INVALID' })
})
