import test, { type ExecutionContext } from 'ava'
import { type ServerOptions, WseServer } from 'wse-server'
import { Authorizer } from '../lib/authorize.js'
import { Log } from '../lib/log.js'
import { gate, until, within } from './harness/arrivals.js'
import { type Connection, connect } from './harness/connect.js'
import { type RunningServer, startServer, warned } from './harness/server.js'
import { secret, tokenOf } from './harness/tokens.js'

type Hook = NonNullable<ServerOptions['authorize']>

/** A server with tokens and this hook, and what the hook was called with. */
async function serverAsking(t: ExecutionContext, hook: Hook, options: ServerOptions = {}) {
  const calls: { connId: string; userId: string | null; topics: string[] }[] = []
  const authorize: Hook = (connection, topics) => {
    calls.push({ connId: connection.connId, userId: connection.userId, topics: [...topics].sort() })
    return hook(connection, topics)
  }
  const server = await startServer(t, { jwt: { secret }, maxConnectionsPerUser: 0, authorize, ...options })
  return { server, calls }
}

async function connectAs(t: ExecutionContext, server: RunningServer, user: string, claims = {}): Promise<Connection> {
  return connect(t, server, { token: await tokenOf(user, claims) })
}

/** The numbers of the probes that arrive when each topic is published to in turn. */
async function reached(server: RunningServer, connection: Connection, topics: string[]): Promise<string[]> {
  for (const topic of topics) server.broadcast(topic, { t: 'probe', p: { topic } })
  await connection.roundTrip()
  const probes = connection.waiting.map((text) => JSON.parse(text)).filter(({ t }) => t === 'probe')
  for (const _ of probes) await connection.next('probe')
  return probes.map(({ p }) => p.topic as string)
}

test('asks whether this user may join challenge 17', async (t) => {
  const players = new Map([['17', new Set(['anna'])]])
  const { server, calls } = await serverAsking(
    t,
    async ({ userId }, topics) =>
      topics.filter((topic) => players.get(topic.replace('challenge:', ''))?.has(userId ?? '')),
    { topics: { allow: ['news'], deny: ['challenge:secret'] } },
  )
  const [anna, ben] = [await connectAs(t, server, 'anna'), await connectAs(t, server, 'ben')]
  const asked = ['challenge:17', 'news', 'challenge:18', 'challenge:secret', 'challenge:*']
  t.like(await anna.subscribe(asked), {
    success_topics: ['challenge:17', 'news'],
    failed_topics: ['challenge:18', 'challenge:secret', 'challenge:*'],
  })
  t.like((await anna.next('error')).p, { code: 'SUBSCRIPTION_FAILED' })
  t.like(await ben.subscribe(['challenge:17']), { success: false })
  // What is denied, and a glob that matches it, never gets there.
  t.deepEqual(
    calls.map(({ userId, topics }) => [userId, topics]),
    [
      ['anna', ['challenge:17', 'challenge:18']],
      ['ben', ['challenge:17']],
    ],
  )
  t.deepEqual(await reached(server, anna, asked.slice(0, 3)), ['challenge:17', 'news'])
  t.deepEqual(await reached(server, ben, ['challenge:17']), [])
})

/** A hook's authorizer without a server, and what it grants when somebody wants these topics. */
function authorizing(hook: Hook, authorizeCacheMs = 60_000) {
  let settle: (granted: string[]) => void = () => {}
  const limits = { authorizeTimeoutMs: 0, authorizeCacheMs }
  const authorizer = new Authorizer(hook, limits, new Log(undefined, 'info'), (_, granted) => settle(granted))
  const add = (topics: string[], userId: string, claims = '{}') =>
    authorizer.add({ place: 0, generation: 1, number: 1, connId: 'c', userId, claims, topics })
  const ask = (topics: string[], userId = 'anna') =>
    new Promise<string[]>((resolve) => {
      settle = resolve
      add(topics, userId)
      authorizer.ask()
    })
  return { authorizer, add, ask }
}

test('remembers so many answers and no more, the newest, and none of a user whose claims have changed', async (t) => {
  const calls: string[][] = []
  const { authorizer, ask } = authorizing((_, topics) => {
    calls.push(topics)
    return topics.filter((topic) => topic !== 'no')
  })
  t.deepEqual(await ask(['yes', 'no']), ['yes'])
  t.deepEqual(await ask(['yes', 'no']), ['yes'])
  t.is(calls.length, 1)
  authorizer.forget({ userId: 'ann', connId: 'c' }, null)
  authorizer.forget({ userId: 'anna', connId: 'c' }, null)
  t.deepEqual(await ask(['yes', 'no']), ['yes'])
  t.is(calls.length, 2, 'her claims have changed')
  authorizer.forget({ userId: 'anna', connId: 'c' }, ['no', 'other'])
  t.deepEqual(await ask(['yes', 'no']), ['yes'])
  t.deepEqual(calls.slice(2), [['no']], 'what was taken away is asked for again')
  const many = Array.from({ length: 5_000 }, (_, n) => `t${n}`)
  t.deepEqual(await ask(many, 'ben'), many)
  t.deepEqual(await ask(many, 'ben'), many)
  t.is(calls.length, 4, 'so many are remembered')
  await ask(Array.from({ length: 5_000 }, (_, n) => `u${n}`))
  t.is((await ask(many.slice(-2), 'ben')).length, 2)
  t.is((await ask(['t0', 't4999'], 'ben')).length, 2)
  t.deepEqual(calls.slice(5), [['t0']], 'the oldest answers went')
})

test('asks again when an answer has had its time, and goes by the new one', async (t) => {
  let calls = 0
  const { ask } = authorizing(() => ++calls === 1, 1)
  t.deepEqual(await ask(['a']), ['a'])
  let granted = ['a']
  await until('another question', async () => {
    granted = await ask(['a'])
    return calls === 2
  })
  t.deepEqual(granted, [])
})

test('asks anew with other claims, though the question with those before has not left', async (t) => {
  const seen: unknown[] = []
  const { authorizer, add, ask } = authorizing(({ claims }) => {
    seen.push(claims.level)
    return true
  })
  add(['a'], 'anna', '{"level":1}')
  authorizer.forget({ userId: 'anna', connId: '' }, null)
  add(['a'], 'anna', '{"level":2}')
  await ask(['a'])
  t.deepEqual(seen, [1, 2])
})

test('tells the hook whose connection it is, and takes yes and no for all', async (t) => {
  const seen: unknown[] = []
  const { server } = await serverAsking(t, (connection) => {
    seen.push(connection)
    return connection.claims.level === 2
  })
  const [low, high] = [await connectAs(t, server, 'low'), await connectAs(t, server, 'high', { level: 2 })]
  t.like(await low.subscribe(['a', 'b*']), { success: false })
  t.like(await high.subscribe(['a', 'b*']), { success_topics: ['a', 'b*'] })
  t.like(seen, [
    { connId: low.id, userId: 'low', claims: { sub: 'low' } },
    { connId: high.id, userId: 'high', claims: { sub: 'high', level: 2 } },
  ])
  t.deepEqual(await reached(server, high, ['a', 'ba', 'c']), ['a', 'ba'])
})

test('asks once for what many connections of a user want at the same time, and then remembers', async (t) => {
  const [isFree, free] = gate()
  const { server, calls } = await serverAsking(t, async (_, topics) => {
    await isFree
    return topics.filter((topic) => topic !== 'no')
  })
  const tabs = await Promise.all(Array.from({ length: 100 }, () => connectAs(t, server, 'anna')))
  const replies = tabs.map((tab) => tab.subscribe(['yes', 'no']))
  for (const tab of tabs) await tab.roundTrip()
  free()
  for (const reply of await Promise.all(replies)) t.like(reply, { success_topics: ['yes'], failed_topics: ['no'] })
  t.deepEqual(
    calls.map(({ topics }) => topics),
    [['no', 'yes']],
  )
  t.like(await (await connectAs(t, server, 'anna')).subscribe(['yes', 'no', 'other']), {
    success_topics: ['yes', 'other'],
  })
  t.deepEqual(
    calls.map(({ topics }) => topics),
    [['no', 'yes'], ['other']],
    'what was answered is known',
  )
  t.like(await (await connectAs(t, server, 'ben')).subscribe(['yes']), { success_topics: ['yes'] })
  t.is(calls.length, 3, 'of another user it is not')
})

test('asks again each time where nothing is to be remembered', async (t) => {
  const { server, calls } = await serverAsking(t, () => true, { authorizeCacheMs: 0 })
  const anna = await connectAs(t, server, 'anna')
  for (let n = 0; n < 3; n++) t.like(await anna.subscribe(['a']), { success: true })
  t.is(calls.length, 3)
})

test('gives each connection an answer of its own where nothing is to be remembered', async (t) => {
  const [isFree, free] = gate()
  const { server, calls } = await serverAsking(
    t,
    async ({ claims }) => {
      await isFree
      return claims.level === 2
    },
    { authorizeCacheMs: 0 },
  )
  const high = await connectAs(t, server, 'anna', { level: 2 })
  const low = await connectAs(t, server, 'anna', { level: 1 })
  const replies = [high, low].map((connection) => connection.subscribe(['a']))
  for (const connection of [high, low]) await connection.roundTrip()
  free()
  t.deepEqual(
    (await Promise.all(replies)).map(({ success }) => success),
    [true, false],
  )
  t.is(calls.length, 2)
})

test('asks again about what the application took away, though the answer was remembered', async (t) => {
  let isGranted = true
  const { server, calls } = await serverAsking(t, () => isGranted)
  const anna = await connectAs(t, server, 'anna')
  const others = [await connectAs(t, server, 'anna'), await connectAs(t, server, 'ben')]
  for (const connection of [anna, ...others]) t.like(await connection.subscribe(['a', 'b']), { failed_topics: [] })
  isGranted = false
  t.true(server.unsubscribeConnection(anna.id, ['a']))
  for (const connection of [anna, others[0] as Connection]) {
    t.like(await connection.subscribe(['a', 'b']), { success_topics: ['b'], failed_topics: ['a'] })
  }
  t.true(server.unsubscribeConnection(anna.id, null))
  t.like(await anna.subscribe(['b']), { success: false })
  t.like(await (others[1] as Connection).subscribe(['a', 'b']), { failed_topics: [] }, "another user's stays")
  t.deepEqual(
    calls.map(({ userId, topics }) => [userId, topics]),
    [
      ['anna', ['a', 'b']],
      ['ben', ['a', 'b']],
      ['anna', ['a']],
      ['anna', ['b']],
    ],
  )
})

test('asks again about what the application takes away while the hook is thinking', async (t) => {
  const [isAnswered, answer] = gate()
  let isGranted = true
  const { server, calls } = await serverAsking(t, async (_, topics) => {
    const granted = isGranted ? topics : []
    await isAnswered
    return granted
  })
  const anna = await connectAs(t, server, 'anna')
  const reply = anna.subscribe(['a', 'b'])
  await until('the question', () => calls.length === 1)
  isGranted = false
  t.true(server.unsubscribeConnection(anna.id, ['a']))
  await anna.roundTrip()
  answer()
  t.like(await reply, { success_topics: ['b'], failed_topics: ['a'] })
  t.deepEqual(
    calls.map(({ topics }) => topics),
    [['a', 'b'], ['a']],
    'what was not taken away has its answer',
  )
  t.deepEqual(await reached(server, anna, ['a', 'b']), ['b'])
})

test('gives each anonymous connection an answer of its own', async (t) => {
  const calls: (string | null)[] = []
  const server = await startServer(t, {
    authorize: ({ connId, userId }) => {
      t.is(userId, null)
      calls.push(connId)
      return true
    },
  })
  const [one, other] = [await connect(t, server, { path: '/wse?topics=a' }), await connect(t, server)]
  for (const connection of [one, other]) t.like(await connection.subscribe(['a']), { success: true })
  t.deepEqual(calls, [one.id, other.id])
})

for (const [what, hook] of [
  [
    'throws',
    () => {
      throw new Error('no database')
    },
  ],
  ['rejects', () => Promise.reject(new Error('no database'))],
  ['is late', () => new Promise<never>(() => {})],
  ['answers something else', () => 'yes' as never],
] as [string, Hook][]) {
  test.serial(`refuses when the hook ${what}, says so, and asks again next time`, async (t) => {
    const warning = warned(t, 'WseAuthorizeWarning')
    let isBroken = true
    const { server, calls } = await serverAsking(t, (...question) => (isBroken ? hook(...question) : true), {
      authorizeTimeoutMs: 50,
      topics: { allow: ['news'] },
    })
    const anna = await connectAs(t, server, 'anna')
    t.like(await anna.subscribe(['a', 'news']), { success_topics: ['news'], failed_topics: ['a'] })
    t.is((await warning).message, 'authorize failed')
    isBroken = false
    t.like(await anna.subscribe(['a']), { success: true })
    t.is(calls.length, 2)
  })
}

test('keeps the order of the requests of a connection, and holds up nothing else', async (t) => {
  const answers = new Map<string, (isGranted: boolean) => void>()
  const { server } = await serverAsking(t, (_, [topic = '']) => new Promise((resolve) => answers.set(topic, resolve)))
  const anna = await connectAs(t, server, 'anna')
  const request = (action: string, topic: string) =>
    anna.send({ t: 'subscription_update', p: { action, topics: [topic] } })
  request('subscribe', 'a')
  request('subscribe', 'b')
  request('unsubscribe', 'a')
  anna.send({ t: 'hello', p: {} })
  for await (const batch of server.drain()) if (batch.some((event) => event.type === 'msg')) break
  await anna.roundTrip()
  answers.get('b')?.(true)
  await anna.roundTrip()
  t.deepEqual(anna.waiting, [])
  answers.get('a')?.(true)
  for (const [action, topic] of [
    ['subscribe', 'a'],
    ['subscribe', 'b'],
    ['unsubscribe', 'a'],
  ]) {
    t.like((await anna.next('subscription_update')).p, { action, success_topics: [topic] })
  }
  t.deepEqual(await reached(server, anna, ['a', 'b']), ['b'])
})

test('ends while the hook is thinking', async (t) => {
  const { server } = await serverAsking(t, () => new Promise(() => {}))
  const [gone, anna] = [await connectAs(t, server, 'anna'), await connectAs(t, server, 'anna')]
  for (const connection of [gone, anna]) {
    connection.send({ t: 'subscription_update', p: { action: 'subscribe', topics: ['a'] } })
    await connection.roundTrip()
  }
  await gone.close()
  await within(server.close(), 'the end of a server whose hook is thinking')
  t.is((await anna.closed()).code, 1012)
})

test('grants the topics of roles and teams, and what the token says', async (t) => {
  const server = await startServer(t, { jwt: { secret }, topics: { allow: ['news'] }, maxConnectionsPerUser: 0 })
  const asked = ['news', 'user:anna', 'role:editor', 'team:7', 'market', 'news:*']
  for (const [claims, granted] of [
    [{ roles: ['editor'], teams: [7] }, ['news', 'user:anna', 'role:editor', 'team:7']],
    [{ roles: 'editor' }, ['news', 'user:anna', 'role:editor']],
    [{ wse_topics: { allow: ['market', 'news:*'] }, roles: ['editor'] }, ['market', 'news:*']],
    [{ wse_topics: { allow: [] } }, []],
    [{ wse_topics: { deny: ['news*', 'team:*'] }, teams: ['7'] }, ['user:anna']],
    [{ wse_topics: { allow: 'market' } }, []],
    [{ wse_topics: null }, []],
  ] as [object, string[]][]) {
    const anna = await connectAs(t, server, 'anna', claims)
    t.deepEqual((await anna.subscribe(asked)).success_topics, granted, JSON.stringify(claims))
    const topics = ['news', 'market']
    const { failedTopics } = await server.subscribeConnection(anna.id, topics)
    const wse = (claims as { wse_topics?: { allow?: unknown; deny?: string[] } | null }).wse_topics
    const isLost = wse === null || typeof wse?.allow === 'string'
    t.deepEqual(failedTopics, isLost ? topics : wse?.deny ? ['news'] : [], 'the application is bound by deny only')
  }
})

test('has connections hold topics from the start', async (t) => {
  const server = await startServer(t, {
    authenticate: ({ headers }) => ({ userId: String(headers.user) }),
    subscribeOnConnect: ['news', 'user:{id}', 'prices:*', 'denied'],
    topics: { deny: ['denied'] },
  })
  const anna = await connect(t, server, { headers: { user: 'anna' } })
  const topics = ['news', 'user:anna', 'prices:ACME', 'denied', 'user:{id}', 'user:ben']
  t.deepEqual(await reached(server, anna, topics), ['news', 'user:anna', 'prices:ACME'])
  t.is(server.getTopicSubscriberCount('prices:*'), 1)
  t.is(server.getTopicSubscriberCount('prices:ACME'), 0)
})

test('takes away what other rules do not grant, in order with publications, and tells the client', async (t) => {
  const server = await startServer(t, { topics: { allow: ['news', 'prices:*'] } })
  const [one, other] = [await connect(t, server), await connect(t, server)]
  await one.subscribe(['news', 'prices:*'])
  await server.subscribeConnection(other.id, ['prices:ACME', 'internal'])
  server.broadcast('prices:ACME', { t: 'price', p: { n: 1 } })
  server.setTopicRules({ allow: ['news'], deny: ['internal'] })
  server.broadcast('prices:ACME', { t: 'price', p: { n: 2 } })
  server.broadcast('internal', { t: 'price', p: { n: 3 } })
  server.broadcast('news', { t: 'last', p: {} })
  await one.next('last')
  const types = (connection: Connection) => connection.waiting.map((text) => JSON.parse(text).t)
  t.deepEqual(types(one), ['price', 'subscription_update', 'error'])
  t.deepEqual((await one.next('subscription_update')).p, {
    action: 'unsubscribe',
    success: true,
    success_topics: ['prices:*'],
    failed_topics: [],
    recovery: {},
  })
  t.like((await one.next('error')).p, { code: 'SUBSCRIPTION_FAILED', details: { topics: ['prices:*'] } })
  await other.next('error')
  await other.roundTrip()
  t.deepEqual(types(other), ['price', 'subscription_update', 'price'])
  t.like(await one.subscribe(['prices:ACME']), { success: false })
  t.is(server.getTopicSubscriberCount('internal'), 0)
  server.setTopicRules({ allow: ['prices:*'] })
  // What a client asks in the same turn may be decided before.
  await one.roundTrip()
  t.like(await one.subscribe(['prices:*']), { success: true })
})

test('says what rules, templates and limits may be', (t) => {
  for (const options of [
    { topics: { allow: 'news' } },
    { topics: { allow: ['a\n'] } },
    { topics: { deny: [''] } },
    { topics: { deny: ['é'.repeat(128)] } },
    { recovery: { topics: ['a\u0085'] } },
    { topicPolicies: [{ topics: ['a\0'] }] },
    { authorize: true },
    { authorizeTimeoutMs: -1 },
    { authorizeCacheMs: '1' },
    { subscribeOnConnect: 'news' },
    { subscribeOnConnect: ['line\nbreak'] },
    { subscribeOnConnect: ['*****'] },
    { maxGlobs: 1.5 },
    { maxSubscriptions: null },
  ]) {
    t.throws(() => new WseServer(options as never), { code: 'WSE_OPTION_INVALID' }, JSON.stringify(options))
  }
})

test('refuses rules that are none, and a topic that is a glob', async (t) => {
  const server = await startServer(t, { topics: { allow: ['*'] } })
  t.throws(() => server.setTopicRules({ deny: [7] } as never), { code: 'WSE_OPTION_INVALID' })
  t.throws(() => server.setTopicRules({ allow: ['a\n'] }), { code: 'WSE_OPTION_INVALID' })
  t.notThrows(
    () => server.setTopicRules({ allow: ['*', 'a*b*c*d*e*f'] }),
    'what clients hold has four stars, rules any',
  )
  t.throws(() => server.setTopicRules({ denied: ['a'] } as never), { code: 'WSE_OPTION_UNKNOWN' })
  const connection = await connect(t, server)
  await connection.subscribe(['a*'])
  t.throws(() => server.broadcast('a*', { t: 'x' }), { code: 'WSE_TOPIC_INVALID' })
  t.deepEqual(await reached(server, connection, ['ab', 'ba']), ['ab'])
  await server.close()
  t.notThrows(() => server.setTopicRules({}))
})

test('takes away what another token does not grant, and asks the hook again', async (t) => {
  const { server, calls } = await serverAsking(t, ({ claims }, topics) => topics.filter((topic) => claims[topic]))
  const anna = await connectAs(t, server, 'anna', { a: true, b: true, roles: ['editor'] })
  t.like(await anna.subscribe(['a', 'b', 'role:editor', 'user:anna']), { failed_topics: [] })
  const refresh = async (claims: object) => {
    anna.send({ t: 'auth_refresh', p: { token: await tokenOf('anna', claims as Record<string, unknown>) } })
    await anna.next('auth_refreshed')
  }
  await refresh({ a: true })
  t.like((await anna.next('subscription_update')).p, { action: 'unsubscribe', success_topics: ['role:editor'] })
  t.like((await anna.next('subscription_update')).p, { action: 'unsubscribe', success_topics: ['b'] })
  t.deepEqual(await reached(server, anna, ['a', 'b', 'role:editor', 'user:anna']), ['a', 'user:anna'])
  t.deepEqual(
    calls.map(({ topics }) => topics),
    [
      ['a', 'b'],
      ['a', 'b'],
    ],
  )
  await refresh({ wse_topics: { deny: ['user:*'] }, b: true })
  t.like((await anna.next('subscription_update')).p, { success_topics: ['user:anna'] })
  t.like((await anna.next('subscription_update')).p, { success_topics: ['a'] })
  t.like(await anna.subscribe(['b']), { success: true })
})
