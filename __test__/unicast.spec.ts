import test from 'ava'
import { until } from './harness/arrivals.js'
import { connect } from './harness/connect.js'
import { Application, startServer } from './harness/server.js'
import { secret, tokenOf } from './harness/tokens.js'

const gone = '01890a5d-ac96-774b-bcce-b302099a8057'

test('sends to one connection and numbers what it sends from 1', async (t) => {
  const server = await startServer(t)
  const [one, other] = [await connect(t, server), await connect(t, server)]
  for (let n = 1; n <= 5; n++) t.true(server.send(one.id, JSON.stringify({ t: 'note', p: { n } })))
  for (let n = 1; n <= 5; n++) t.like(await one.next('note'), { p: { n }, seq: n })
  t.true(server.send(other.id, JSON.stringify({ t: 'note', p: {} })))
  t.is((await other.next('note')).seq, 1)
  await other.roundTrip()
  t.deepEqual(other.waiting, [])
})

test('sends bytes as they are', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  const bytes = Buffer.from(Array.from({ length: 1_000 }, (_, n) => n & 255))
  t.true(server.sendBytes(connection.id, bytes))
  t.deepEqual(await connection.nextBytes(), bytes)
})

test('says how many bytes of JSON an event took', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  const queued = server.sendEvent(connection.id, { t: 'note', p: { text: 'grün' } })
  const text = await connection.nextText()
  t.is(queued, Buffer.byteLength(text))
  t.like(JSON.parse(text), { t: 'note', p: { text: 'grün' }, seq: 1 })
})

test('writes an event as JSON says it, whatever its priority', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  const event = { t: 'secret', p: { pin: 7 }, toJSON: () => ({ t: 'note', p: { text: 'no pin' }, pri: 3 }) }
  server.sendEvent(connection.id, event)
  t.like(await connection.next('note'), { p: { text: 'no pin' }, pri: 3 })
  server.sendEvent(connection.id, event, { priority: 8 })
  const text = await connection.nextText()
  t.like(JSON.parse(text), { t: 'note', p: { text: 'no pin' }, pri: 8 })
  t.is(text.split('"pri"').length, 2, 'once')
  for (const none of [[], new Date(), { t: 'x', toJSON: () => undefined }, { t: 'x', p: { n: 1n } }, null, 7]) {
    for (const options of [{}, { priority: 8 }] as const) {
      t.throws(() => server.sendEvent(connection.id, none as never, options), { code: 'WSE_MESSAGE_INVALID' })
      await t.throwsAsync(server.publish('news', none as never, options), { code: 'WSE_MESSAGE_INVALID' })
    }
  }
})

test('refuses a priority that there is not, and takes the nearest for what an event says itself', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  const wrong = { code: 'WSE_OPTION_INVALID', message: 'option priority: expected 10, 8, 5, 3 or 1' }
  for (const priority of [7, 0, -1, 1_000, Number.NaN, 'high', null]) {
    const options = { priority } as never
    t.throws(() => server.sendEvent(connection.id, { t: 'note' }, options), wrong)
    await t.throwsAsync(server.publish('news', { t: 'note' }, options), wrong)
  }
  t.true(server.sendEvent(connection.id, { t: 'note', pri: 7 }) > 0)
  t.is((await connection.next('note')).pri, 7)
})

test('says so when a connection is gone or never was', async (t) => {
  const server = await startServer(t)
  const application = new Application(server)
  const connection = await connect(t, server)
  await connection.close()
  await application.next('disconnect')
  for (const id of [connection.id, gone, 'nonsense', '']) {
    t.false(server.send(id, 'x'))
    t.false(server.sendBytes(id, Buffer.from('x')))
    t.is(server.sendEvent(id, { t: 'x', p: {} }), 0)
    t.is(server.getConnectionInfo(id), null)
  }
})

test('reaches every connection of a user and counts them', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  const token = await tokenOf('anna')
  const tabs = [await connect(t, server, { token }), await connect(t, server, { token })]
  const other = await connect(t, server, { token: await tokenOf('bert') })
  t.is(server.sendToUser('anna', { t: 'note', p: {} }), 2)
  t.is(server.sendToUser('nobody', { t: 'note', p: {} }), 0)
  for (const tab of tabs) await tab.next('note')
  await other.roundTrip()
  t.deepEqual(other.waiting, [])
})

test('tells what it knows about connections', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  const connection = await connect(t, server, { token: await tokenOf('anna') })
  const other = await connect(t, server, { token: await tokenOf('bert') })
  await server.subscribeConnection(connection.id, ['prices', 'news'])
  t.is(server.getConnectionCount(), 2)
  t.deepEqual(new Set(server.getConnections()), new Set([connection.id, other.id]))
  const info = server.getConnectionInfo(connection.id)
  t.like(info, { connId: connection.id, userId: 'anna', protocolVersion: 2, subscriptions: 2 })
  t.like(info, { waitingBytes: 0, missed: 0 })
  server.unsubscribeConnection(connection.id, ['news'])
  await until('the end of a subscription', () => server.getConnectionInfo(connection.id)?.subscriptions === 1)
  const old = await connect(t, server, { token: await tokenOf('bert'), path: '/wse?protocol_version=1' })
  t.is(server.getConnectionInfo(old.id)?.protocolVersion, 1)
})

test('tells what waits for a connection, and what it has missed', async (t) => {
  const server = await startServer(t, { outbound: { maxMessages: 10, slowTimeoutMs: 60_000 } })
  const slow = await connect(t, server)
  slow.socket.pause()
  const padding = 'x'.repeat(100_000)
  const info = () => server.getConnectionInfo(slow.id)
  await until('a message that is missed', () => !server.send(slow.id, padding) && (info()?.missed ?? 0) > 0)
  t.true((info()?.waitingBytes ?? 0) > 100_000)
  slow.socket.resume()
  await until('an empty queue', () => info()?.waitingBytes === 0)
})

test('ends a connection with the code and reason that the application gives', async (t) => {
  const server = await startServer(t)
  const application = new Application(server)
  const [one, other] = [await connect(t, server), await connect(t, server)]
  server.disconnect(one.id, 4321, 'enough')
  t.deepEqual(await one.closed(), { code: 4321, reason: 'enough' })
  t.like(await application.next('disconnect'), { connId: one.id, code: 4321 })
  server.disconnect(other.id)
  t.is((await other.closed()).code, 4403)
  t.notThrows(() => server.disconnect(gone))
})

test('ends all connections of a user', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  const token = await tokenOf('anna')
  const tabs = [await connect(t, server, { token }), await connect(t, server, { token })]
  const other = await connect(t, server, { token: await tokenOf('bert') })
  server.disconnectUser('anna')
  for (const tab of tabs) t.is((await tab.closed()).code, 4403)
  await other.roundTrip()
})

test('delivers what was sent before a disconnect', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  for (let n = 0; n < 100; n++) server.send(connection.id, `${n}`)
  server.disconnect(connection.id, 4000)
  for (let n = 0; n < 100; n++) t.is(await connection.nextText(), `${n}`)
  t.is((await connection.closed()).code, 4000)
})
