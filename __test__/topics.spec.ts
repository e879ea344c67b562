import test from 'ava'
import { within } from './harness/arrivals.js'
import { connect } from './harness/connect.js'
import { startServer } from './harness/server.js'
import { secret, tokenOf } from './harness/tokens.js'

const subscribed = { action: 'subscribe', success: true, failed_topics: [], recovery: {} }

test('lets a user subscribe to its own topics and to those of the table, and to nothing else', async (t) => {
  const server = await startServer(t, { jwt: { secret }, topics: { allow: ['market_*', 'news'] } })
  const connection = await connect(t, server, { token: await tokenOf('anna') })
  const asked = ['user:anna', 'user:anna:orders', 'market_data', 'news', 'user:bert:orders', 'user:annabel', 'secret']
  const reply = await connection.subscribe(asked)
  t.like(reply, {
    action: 'subscribe',
    success: true,
    success_topics: asked.slice(0, 4),
    failed_topics: asked.slice(4),
    recovery: {},
  })
  const { p } = await connection.next('error')
  t.is(p.code, 'SUBSCRIPTION_FAILED')
  t.deepEqual((p.details as { topics: string[] }).topics, asked.slice(4))

  for (const topic of asked) server.broadcast(topic, { t: 'probe', p: { topic } })
  for (const topic of asked.slice(0, 4)) t.deepEqual((await connection.next('probe')).p, { topic })
  await connection.roundTrip()
  t.deepEqual(connection.waiting, [])
})

test('grants nothing to a client by default', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  const reply = await connection.subscribe(['chat', 'user:null', 'user:'])
  t.like(reply, { success: false, success_topics: [], failed_topics: ['chat', 'user:null', 'user:'] })
})

test('lets deny win over ownership and over the table', async (t) => {
  const server = await startServer(t, { jwt: { secret }, topics: { allow: ['*'], deny: ['user:*:audit', 'admin*'] } })
  const connection = await connect(t, server, { token: await tokenOf('anna') })
  const reply = await connection.subscribe(['user:anna:audit', 'admin', 'administration', 'chat'])
  t.like(reply, { success_topics: ['chat'], failed_topics: ['user:anna:audit', 'admin', 'administration'] })
})

for (const id of ['a:b', 'a*', 'a?', 'a\u0007']) {
  test(`gives a user called ${JSON.stringify(id)} no topics of its own`, async (t) => {
    const server = await startServer(t, { jwt: { secret } })
    const connection = await connect(t, server, { token: await tokenOf(id) })
    t.like(await connection.subscribe([`user:${id}`, `user:${id}:orders`]), { success: false, success_topics: [] })
  })
}

test('refuses topics that are none, and takes the longest', async (t) => {
  const server = await startServer(t, { topics: { allow: ['*'] } })
  const connection = await connect(t, server)
  const longest = 'ä'.repeat(127)
  const bad = ['', `${longest}aa`, 'line\nbreak', 'bell\u0007']
  t.like(await connection.subscribe([longest, ...bad]), { success_topics: [longest], failed_topics: bad })
})

test('answers a held topic with success again, and delivers one copy', async (t) => {
  const server = await startServer(t, { topics: { allow: ['chat'] } })
  const connection = await connect(t, server)
  for (let round = 0; round < 2; round++) {
    t.like(await connection.subscribe(['chat', 'chat']), { ...subscribed, success_topics: ['chat'] })
  }
  t.is(server.getTopicSubscriberCount('chat'), 1)
  server.broadcast('chat', { t: 'chat', p: {} })
  await connection.next('chat')
  await connection.roundTrip()
  t.deepEqual(connection.waiting, [])
})

test('stops delivering when a client unsubscribes', async (t) => {
  const server = await startServer(t, { topics: { allow: ['chat', 'news'] } })
  const connection = await connect(t, server)
  await connection.subscribe(['chat', 'news'])
  connection.send({ t: 'subscription_update', p: { action: 'unsubscribe', topics: ['chat'] } })
  t.like((await connection.next('subscription_update')).p, { action: 'unsubscribe', success_topics: ['chat'] })
  server.broadcast('chat', { t: 'chat', p: {} })
  server.broadcast('news', { t: 'news', p: {} })
  await connection.next('news')
  t.deepEqual(connection.waiting, [])
  t.is(server.getTopicSubscriberCount('chat'), 0)
})

test('says what is wrong with a request for nothing and with an action of nobody', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  connection.send({ t: 'subscription_update', p: { action: 'subscribe', topics: [] } })
  t.is((await connection.next('error')).p.code, 'INVALID_SUBSCRIPTION')
  connection.send({ t: 'subscription_update', p: { action: 'explode', topics: ['chat'] } })
  t.is((await connection.next('error')).p.code, 'INVALID_ACTION')
  await connection.roundTrip()
})

test('reads the long names of fields where the short ones are absent', async (t) => {
  const server = await startServer(t, { topics: { allow: ['chat'] } })
  const connection = await connect(t, server)
  connection.send({ type: 'subscription', payload: { action: 'subscribe', topics: ['chat'] } })
  t.like((await connection.next('subscription_update')).p, { success_topics: ['chat'] })
})

test('binds the application by deny only', async (t) => {
  const server = await startServer(t, { topics: { deny: ['audit'] } })
  const connection = await connect(t, server)
  const result = await server.subscribeConnection(connection.id, ['anything', 'audit'])
  t.deepEqual(result.successTopics, ['anything'])
  t.deepEqual(result.failedTopics, ['audit'])
  server.broadcast('anything', { t: 'seen', p: {} })
  await connection.next('seen')
})

test('forgets a topic of the application and all topics of a connection', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  await server.subscribeConnection(connection.id, ['a', 'b', 'c'])
  server.unsubscribeConnection(connection.id, ['a'])
  server.broadcast('a', { t: 'a', p: {} })
  server.broadcast('b', { t: 'b', p: {} })
  await connection.next('b')
  server.unsubscribeConnection(connection.id, null)
  server.broadcast('c', { t: 'c', p: {} })
  server.broadcastAll(JSON.stringify({ t: 'all', p: {} }))
  await connection.next('all')
  t.deepEqual(connection.waiting, [])
})

test('forgets the subscriptions of a connection that is gone', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  await server.subscribeConnection(connection.id, ['chat'])
  t.is(server.getTopicSubscriberCount('chat'), 1)
  const drained = (async () => {
    for await (const batch of server.drain()) if (batch.some((event) => event.type === 'disconnect')) return
  })()
  await connection.close()
  await drained
  t.is(server.getTopicSubscriberCount('chat'), 0)
})

test('rejects a subscription for a connection that is gone', async (t) => {
  const server = await startServer(t)
  const gone = '01890a5d-ac96-774b-bcce-b302099a8057'
  const result = await server.subscribeConnection(gone, ['chat'])
  t.deepEqual(result, { success: false, successTopics: [], failedTopics: ['chat'], recovery: {} })
})

test('settles every subscription, also when the connection or the server ends meanwhile', async (t) => {
  const server = await startServer(t)
  const connections = await Promise.all(Array.from({ length: 20 }, () => connect(t, server)))
  const settled = Promise.allSettled(
    connections.flatMap((connection, n) => {
      const before = server.subscribeConnection(connection.id, [`t${n}`])
      server.disconnect(connection.id)
      return [before, server.subscribeConnection(connection.id, ['late'])]
    }),
  )
  await within(settled, 'the subscriptions of connections that end')
  const last = await connect(t, server)
  const pending = server.subscribeConnection(last.id, ['chat'])
  const closing = server.close()
  const later = server.subscribeConnection(last.id, ['chat'])
  await within(Promise.allSettled([pending, later, closing]), 'the subscriptions of a server that ends')
  t.pass()
})

test('takes topics from the query, silently where they are refused', async (t) => {
  const server = await startServer(t, { topics: { allow: ['news', 'a b'] } })
  const connection = await connect(t, server, { path: '/wse?topics=news,secret,a%20b' })
  for (const topic of ['news', 'secret', 'a b']) server.broadcast(topic, { t: 'probe', p: { topic } })
  t.deepEqual((await connection.next('probe')).p, { topic: 'news' })
  t.deepEqual((await connection.next('probe')).p, { topic: 'a b' })
  await connection.roundTrip()
  t.deepEqual(connection.waiting, [])
})

test('refuses the topic past the bound of a connection', async (t) => {
  const server = await startServer(t, { topics: { allow: ['t*'] } })
  const connection = await connect(t, server)
  const topics = Array.from({ length: 1_024 }, (_, n) => `t${n}`)
  t.like(await connection.subscribe(topics), { success: true, failed_topics: [] })
  t.like(await connection.subscribe(['t0', 'too-many']), { success_topics: ['t0'], failed_topics: ['too-many'] })
})

test('refuses what is no list of topics, and settles the other requests', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  for (const topics of [new Set(['a']), 'a', undefined, [7]]) {
    await t.throwsAsync(server.subscribeConnection(connection.id, topics as never), { code: 'WSE_OPTION_INVALID' })
  }
  t.deepEqual((await server.subscribeConnection(connection.id, ['a'])).successTopics, ['a'])
})

test('answers for the topics that were asked for, whatever becomes of the list', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  const topics = ['a']
  const pending = server.subscribeConnection(connection.id, topics)
  topics[0] = 'b'
  t.deepEqual((await pending).successTopics, ['a'])
})
