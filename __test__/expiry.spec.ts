// Connections end with their token, and go on with another one.
import test from 'ava'
import { connect } from './harness/connect.js'
import { Application, startServer } from './harness/server.js'
import { secret, tokenOf } from './harness/tokens.js'

const jwt = { secret, leewaySeconds: 5 }
const now = () => Math.floor(Date.now() / 1_000)
/** A token that ends in a second or two, and that a slow machine may bring five seconds late. */
const nearlyOver = () => tokenOf('anna', { exp: now() + 2 })

test('tells a client that its token ends, ends the connection with it, and serves the others', async (t) => {
  const server = await startServer(t, { jwt })
  const application = new Application(server)
  const healthy = await connect(t, server, { token: await tokenOf('ben') })
  const connection = await connect(t, server, { token: await nearlyOver() })
  const info = server.getConnectionInfo(connection.id)
  const { expires_at: expiresAt } = (await connection.next('auth_expiring')).p
  t.is(info?.expiresAt?.toISOString(), expiresAt as string)
  const error = (await connection.next('error')).p
  t.like(error, { code: 'AUTH_EXPIRED', recoverable: true })
  t.true(Date.now() >= Date.parse(expiresAt as string))
  t.like(await connection.closed(), { code: 4401 })
  t.like(await application.next('disconnect'), { connId: connection.id, code: 4401 })
  await healthy.roundTrip()
})

test('goes on with another token of the same user, and keeps topics', async (t) => {
  const server = await startServer(t, { jwt })
  const application = new Application(server)
  const connection = await connect(t, server, { token: await tokenOf('anna', { exp: now() + 50 }) })
  await application.next('auth_connect')
  await server.subscribeConnection(connection.id, ['news'])
  await connection.next('auth_expiring')
  const exp = now() + 600
  connection.send({ t: 'auth_refresh', p: { token: await tokenOf('anna', { exp }) } })
  const { expires_at: expiresAt } = (await connection.next('auth_refreshed')).p
  t.is(Date.parse(expiresAt as string), exp * 1_000)
  t.is(server.getConnectionInfo(connection.id)?.expiresAt?.getTime(), exp * 1_000)
  server.broadcast('news', { t: 'news' })
  await connection.next('news')
  t.deepEqual(application.waiting, [], 'the application hears nothing of it')
})

test('goes on with the token that it has when another one is bad, three times', async (t) => {
  const server = await startServer(t, { jwt })
  const connection = await connect(t, server, { token: await tokenOf('anna') })
  for (const [token, recoverable] of [
    [await tokenOf('eve'), true],
    [await tokenOf('anna', { exp: now() - 60 }), true],
    ['none', false],
  ]) {
    connection.send({ t: 'auth_refresh', p: { token } })
    t.like((await connection.next('error')).p, { code: 'AUTH_FAILED', recoverable })
  }
  t.like(await connection.closed(), { code: 4401 })
})

test('refuses auth_refresh where no tokens are checked', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  connection.send({ t: 'auth_refresh', p: { token: await tokenOf('anna') } })
  t.like((await connection.next('error')).p, { code: 'INVALID_MESSAGE' })
  await connection.roundTrip()
})

test('keeps connections of protocol version 1, whose clients would not come back, unless told otherwise', async (t) => {
  const path = '/wse?protocol_version=1'
  const server = await startServer(t, { jwt })
  const everyone = await startServer(t, { jwt, tokenExpiry: 'all' })
  const application = new Application(server)
  const kept = await connect(t, server, { path, token: await nearlyOver() })
  const ended = await connect(t, everyone, { path, token: await nearlyOver() })
  t.like((await ended.next('error')).p, { code: 'AUTH_EXPIRED' })
  t.like(await ended.closed(), { code: 4401 })
  t.deepEqual(ended.waiting, [], 'auth_expiring is a message of version 2')
  await kept.roundTrip()
  kept.send({ t: 'auth_refresh', p: { token: 'x' } })
  t.like(await application.next('msg'), { data: { t: 'auth_refresh' } })
})

test('keeps every connection where the option says so', async (t) => {
  const server = await startServer(t, { jwt, tokenExpiry: false })
  const others = await startServer(t, { jwt })
  const [token, connection] = [await nearlyOver(), await connect(t, others, { token: await nearlyOver() })]
  const kept = await connect(t, server, { token })
  await connection.closed()
  await kept.roundTrip()
  t.not(server.getConnectionInfo(kept.id)?.expiresAt, null)
})

test('takes the end of what authenticate resolves to', async (t) => {
  const server = await startServer(t, {
    authenticate: ({ headers }) => ({ userId: 'anna', claims: JSON.parse(headers['x-claims'] ?? '{}') }),
  })
  const connectWith = (claims: object) =>
    connect(t, server, { headers: { 'x-claims': JSON.stringify(claims) }, greeted: false })
  const endless = await connectWith({ role: 'x' })
  const { p } = await endless.next('server_ready')
  const { connection_id: id } = p.details as { connection_id: string }
  t.is(server.getConnectionInfo(id)?.expiresAt, null)
  const ended = await connectWith({ exp: now() - 60 })
  t.like((await ended.next('error')).p, { code: 'AUTH_EXPIRED' })
  t.like(await ended.closed(), { code: 4401 })
  const refused = await connectWith({ exp: '2030-01-01' })
  t.like((await refused.next('error')).p, { code: 'AUTH_FAILED' })
  await endless.roundTrip()
})

test('says what tokenExpiry may be', async (t) => {
  const options = { tokenExpiry: 'v1' as 'all' }
  await t.throwsAsync(startServer(t, options), { code: 'WSE_OPTION_INVALID', message: /tokenExpiry/ })
})
