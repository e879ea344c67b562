import test, { type ExecutionContext } from 'ava'
import { type ServerOptions, WseServer } from 'wse-server'
import { gate, until, within } from './harness/arrivals.js'
import { type Connection, connect } from './harness/connect.js'
import { entrances } from './harness/entrances.js'
import type { Envelope } from './harness/envelope.js'
import { listen } from './harness/listener.js'
import { Application, startServer } from './harness/server.js'
import type { Address } from './harness/socket.js'
import { secret, tokenOf } from './harness/tokens.js'

const options: ServerOptions = {
  presence: true,
  jwt: { secret },
  topics: { allow: ['*'] },
  maxConnectionsPerUser: 0,
  shards: 2,
}

/** A connection of a user. */
async function enter(t: ExecutionContext, server: Address, userId: string, query = ''): Promise<Connection> {
  return connect(t, server, { token: await tokenOf(userId), path: `/wse?${query}` })
}

function ask(connection: Connection, topics: string[], presence?: object): void {
  connection.send({ t: 'subscription_update', p: { action: 'subscribe', topics, presence } })
}

/** The user is present when it resolves. */
async function attend(connection: Connection, topics: string[], presence: object): Promise<void> {
  ask(connection, topics, presence)
  await connection.next('subscription_update')
}

const typesOf = ({ waiting }: Connection) => waiting.map((text) => (JSON.parse(text) as Envelope).t)

/** What a holder of one topic believes, from all that it was told. */
class View {
  readonly members = new Map<string, unknown>()

  constructor({ socket }: Connection) {
    socket.on('message', (data) => this.#hear(JSON.parse(data.toString()) as Envelope))
  }

  #hear({ t, p }: Envelope): void {
    type Member = { user_id: string; data: unknown }
    const { user_id, data } = p as Member
    const put = (members: unknown) => {
      for (const member of members as Member[]) this.members.set(member.user_id, member.data)
    }
    if (t === 'presence_join' || t === 'presence_update') this.members.set(user_id, data)
    else if (t === 'presence_leave') this.members.delete(user_id)
    else if (t === 'presence_response') put(p.members)
    else if (t === 'presence_delta') {
      put(p.joined)
      put(p.updated)
      for (const user of p.left as string[]) this.members.delete(user)
    } else if (t === 'batch') for (const message of p.messages as Envelope[]) this.#hear(message)
  }

  /** Resolves when it is what the server knows. */
  async agrees(server: WseServer, topic: string): Promise<void> {
    const known = () => JSON.stringify(Object.entries(server.presence(topic)).map(([user, { data }]) => [user, data]))
    const believed = () => JSON.stringify([...this.members].sort(([one], [other]) => (one < other ? -1 : 1)))
    await until('the view of a holder', () => known() === believed())
  }
}

for (const by of ['the client', 'the application'] as const) {
  test(`tells who joins and everybody else before the reply, asked by ${by}`, async (t) => {
    const server = await startServer(t, options)
    const application = new Application(server)
    const ben = await enter(t, server, 'ben')
    await ben.subscribe(['chat'])
    const anna = await enter(t, server, 'anna')
    if (by === 'the client') ask(anna, ['chat'], { status: 'here' })
    else t.true((await server.subscribeConnection(anna.id, ['chat'], { status: 'here' })).success)
    const expected = { user_id: 'anna', data: { status: 'here' }, topic: 'chat' }
    t.deepEqual((await ben.next('presence_join')).p, expected)
    if (by === 'the client') {
      const { p } = await anna.next('subscription_update')
      t.deepEqual(p.success_topics, ['chat'])
      t.deepEqual(typesOf(anna), ['presence_join'], 'it had come before')
    }
    const join = await anna.next('presence_join')
    t.deepEqual(join.p, expected)
    t.like(join, { v: 2, _msg_cat: 'WSE', o: undefined, seq: undefined })
    t.like(await application.next('presence_join'), {
      connId: anna.id,
      topic: 'chat',
      userId: 'anna',
      data: { status: 'here' },
    })
    t.deepEqual(server.presence('chat'), { anna: { data: { status: 'here' }, connections: 1 } })
    t.deepEqual(server.presenceStats('chat'), { numUsers: 1, numConnections: 1 })
    t.true(server.memory().presenceBytes > 0)
    t.like(server.healthSnapshot(), { presence_enabled: true, presence_topics: 1, presence_total_users: 1 })
  })
}

test('has a user with many tabs once, until the last one is cut', async (t) => {
  const server = await startServer(t, options)
  const application = new Application(server)
  const ben = await enter(t, server, 'ben')
  await ben.subscribe(['chat', 'news'])
  const tabs = await Promise.all(Array.from({ length: 5 }, () => enter(t, server, 'anna')))
  for (const tab of tabs) await attend(tab, ['chat', 'news'], { status: 'here' })
  t.deepEqual(server.presenceStats('chat'), { numUsers: 1, numConnections: 5 })
  t.is(await server.updatePresence((tabs[2] as Connection).id, { status: 'away' }), 2)
  t.deepEqual((await ben.next('presence_update')).p, { user_id: 'anna', data: { status: 'away' }, topic: 'chat' })
  t.like((await ben.next('presence_update')).p, { topic: 'news' })
  for (const tab of tabs.slice(1)) tab.socket.terminate()
  await until('the tabs are gone', () => server.presenceStats('chat').numConnections === 1)
  t.false(typesOf(ben).includes('presence_leave'))
  tabs[0]?.socket.terminate()
  t.deepEqual((await ben.next('presence_leave')).p, { user_id: 'anna', data: { status: 'away' }, topic: 'chat' })
  const left = await application.next('presence_leave', ({ topic }) => topic === 'chat')
  const joined = await application.next('presence_join', ({ topic }) => topic === 'chat')
  t.true(left.revision > joined.revision)
  t.deepEqual(JSON.parse(JSON.stringify(left)).data, { status: 'away' })
  t.deepEqual(server.presence('chat'), {})
  await until('the other topic is left too', () => server.healthSnapshot().presence_topics === 0)
  t.is(server.memory().presenceBytes, 0)
  t.is(typesOf(ben).filter((type) => type === 'presence_join').length, 2)
  t.is(await server.updatePresence((tabs[0] as Connection).id, {}), 0, 'it is gone')
})

test('turns pages until there are no more', async (t) => {
  const server = await startServer(t, options)
  for (const userId of ['anna', 'ben', 'cleo']) await attend(await enter(t, server, userId), ['chat'], {})
  const seen: string[] = []
  let after: string | null | undefined
  do {
    const { members, next } = server.presence('chat', { after, limit: 2 })
    seen.push(...members.map(({ userId }) => userId))
    after = next
  } while (after !== null)
  t.deepEqual(seen, ['anna', 'ben', 'cleo'])
})

test('hands joins and leaves to callbacks', async (t) => {
  const server = await startServer(t, options)
  const [isJoined, join] = gate()
  const [isLeft, leave] = gate()
  server.setCallbacks({
    onConnect: ({ connId }) => server.subscribeConnection(connId, ['chat'], { n: 1 }),
    onPresenceJoin: ({ userId, data }) => void (userId === 'anna' && data.n === 1 && join()),
    onPresenceLeave: ({ userId, topic }) => void (userId === 'anna' && topic === 'chat' && leave()),
  })
  const anna = await enter(t, server, 'anna')
  await within(isJoined, 'the join')
  await anna.close()
  await t.notThrowsAsync(within(isLeft, 'the leave'))
})

test('says what cannot be, and by name', async (t) => {
  const server = await startServer(t, { ...options, presence: { maxDataBytes: 32, maxMembers: 1 } })
  const anna = await enter(t, server, 'anna')
  const large = { text: 'x'.repeat(32) }
  await t.throwsAsync(server.subscribeConnection(anna.id, ['chat'], large), { code: 'WSE_PRESENCE_TOO_LARGE' })
  await t.throwsAsync(server.updatePresence(anna.id, large), { code: 'WSE_PRESENCE_TOO_LARGE' })
  const cycle: { self?: object } = {}
  cycle.self = cycle
  for (const none of [[], null, new Date(), { toJSON: () => 'here' }, { toJSON: () => undefined }, { n: 1n }, cycle]) {
    await t.throwsAsync(server.updatePresence(anna.id, none as never), { code: 'WSE_OPTION_INVALID' })
    await t.throwsAsync(server.subscribeConnection(anna.id, ['chat'], none as never), { code: 'WSE_OPTION_INVALID' })
  }
  await t.throwsAsync(server.subscribeConnection(anna.id, ['chat'], 'here' as never), { code: 'WSE_OPTION_INVALID' })
  for (const limit of [0, 1_001, 1.5])
    t.throws(() => server.presence('chat', { limit }), { code: 'WSE_OPTION_INVALID' })
  await attend(anna, ['chat'], large)
  t.like((await anna.next('error')).p, { code: 'PRESENCE_TOO_LARGE', topics: ['chat'], recoverable: true })
  await attend(anna, ['chat'], {})
  const ben = await enter(t, server, 'ben')
  await attend(ben, ['chat'], {})
  t.like((await ben.next('error')).p, { code: 'OVERLOADED', topics: ['chat'] })
  t.deepEqual(Object.keys(server.presence('chat')), ['anna'])
  t.throws(() => new WseServer({ presence: true, envelope: false }), { message: /presence.*envelope/ })
  t.throws(() => new WseServer({ presence: true, maxMessageBytes: 8_000 }), { message: /presence.*maxMessageBytes/ })
  t.throws(() => new WseServer({ presence: { maxDataBytes: -1 } }), { message: /presence\.maxDataBytes/ })
})

test('costs and says nothing where it is off', async (t) => {
  const server = await startServer(t, { ...options, presence: false })
  const anna = await enter(t, server, 'anna')
  t.true((await server.subscribeConnection(anna.id, ['chat'], { n: 1 })).success)
  await attend(anna, ['news'], { n: 1 })
  t.deepEqual(typesOf(anna), [])
  t.deepEqual([server.presence('chat'), server.presenceStats('chat').numUsers], [{}, 0])
  await t.throwsAsync(server.updatePresence(anna.id, {}), { code: 'WSE_OPTION_INVALID', message: /option presence/ })
  t.false(server.healthSnapshot().presence_enabled)
  await server.close()
  t.deepEqual([server.presence('chat'), server.presenceStats('chat').numUsers], [{}, 0])
})

const forms = [
  ['', 'text'],
  ['protocol_version=1', 'text'],
  ['format=msgpack', 'msgpack'],
  ['encryption=true', 'sealed'],
  ['encryption=true&protocol_version=1', 'sealed'],
  ['compression=true', 'zlib'],
] as const

test('reaches everybody in the way in which publications do', async (t) => {
  const server = await startServer(t, options)
  const anna = await enter(t, server, 'anna')
  const listeners = await Promise.all(
    forms.map(async ([query, carrier]) => {
      const listener = await listen(t, server, query, { token: await tokenOf('ben') })
      await server.subscribeConnection(listener.connection.id, ['chat'])
      return { listener, carrier, isOld: query.includes('protocol_version=1') }
    }),
  )
  const data = { status: 'grün '.repeat(300) }
  await attend(anna, ['chat'], data)
  for (const { listener, carrier, isOld } of listeners) {
    const message = await listener.next('presence_join')
    const p = { user_id: 'anna', data, ...(!isOld && { topic: 'chat' }) }
    t.deepEqual([message.carrier, message.envelope.p], [carrier, p])
    t.is(message.envelope[isOld ? 'c' : '_msg_cat'], 'WSE')
  }
})

for (const { name, open } of entrances.filter(({ name }) => /own$|streams/.test(name))) {
  test(`tells a large topic once a second, and pages whoever is there, ${name}`, async (t) => {
    const service = await open(t, options)
    const server = service.wse
    const [ben, old] = [await enter(t, service, 'ben'), await enter(t, service, 'cleo', 'protocol_version=1')]
    const views = [new View(ben), new View(old)]
    await ben.subscribe(['chat'])
    await old.subscribe(['chat'])
    const users = Array.from({ length: 120 }, (_, n) => `user-${String(n).padStart(3, '0')}`)
    const members = await Promise.all(users.map((user) => enter(t, service, user)))
    await Promise.all(members.map((member, n) => attend(member, ['chat'], { n })))
    const delta = await ben.next('presence_delta')
    t.true(Array.isArray(delta.p.joined) && (delta.p.total as number) > 100)
    t.is((await old.next('batch')).v, 1)
    for (const view of views) await view.agrees(server, 'chat')

    const found: string[] = []
    let after: string | undefined
    do {
      ben.send({ t: 'presence_request', p: { topic: 'chat', limit: 50, after }, cid: found.length })
      const { p, cid } = await ben.next('presence_response')
      t.deepEqual([cid, p.total], [found.length, 120])
      for (const { user_id } of p.members as { user_id: string }[]) found.push(user_id)
      after = (p.next as string | null) ?? undefined
    } while (after !== undefined)
    t.deepEqual(found, users)
    const { members: page, next, total } = server.presence('chat', { limit: 2, after: 'user-007' })
    t.deepEqual(page, [
      { userId: 'user-008', data: { n: 8 }, connections: 1 },
      { userId: 'user-009', data: { n: 9 }, connections: 1 },
    ])
    t.deepEqual([next, total], ['user-009', 120])
    t.deepEqual(Object.keys(server.presence('chat')), users)

    const stranger = await enter(t, service, 'dora')
    stranger.send({ t: 'presence_request', p: { topic: 'chat' } })
    t.like((await stranger.next('error')).p, { code: 'SUBSCRIPTION_FAILED', topics: ['chat'] })
    for (const member of members.slice(0, 60)) member.socket.terminate()
    await until('they are gone', () => server.presenceStats('chat').numUsers === 60)
    for (const view of views) await view.agrees(server, 'chat')
    ask(members[60] as Connection, ['chat'], { n: 'another' })
    t.like((await ben.next('presence_update')).p, { user_id: 'user-060', data: { n: 'another' } })
  })
}

test('agrees with every holder after lives on several threads', async (t) => {
  const server = await startServer(t, { ...options, shards: 3 })
  const watchers = await Promise.all(['w1', 'w2', 'w3', 'w4'].map((user) => enter(t, server, user)))
  const views = watchers.map((watcher) => new View(watcher))
  await Promise.all(watchers.map((watcher) => watcher.subscribe(['chat'])))
  await Promise.all(
    Array.from({ length: 24 }, async (_, life) => {
      for (let n = 0; n < 12; n++) {
        const member = await enter(t, server, `user-${(life * 7 + n) % 9}`)
        await attend(member, ['chat'], { life: life % 3 })
        if (n % 3 === 0) await server.updatePresence(member.id, { life, n })
        if (n === 11) return
        if (n % 2) member.socket.terminate()
        else server.unsubscribeConnection(member.id, null)
      }
    }),
  )
  await until('only the last ones are left', () => server.presenceStats('chat').numConnections === 24)
  for (const view of views) await view.agrees(server, 'chat')
  t.is(server.presenceStats('chat').numUsers, Object.keys(server.presence('chat')).length)
  server.disconnect((watchers[0] as Connection).id)
  for (const userId of Object.keys(server.presence('chat'))) server.disconnectUser(userId)
  await until('everybody is gone', () => server.presenceStats('chat').numUsers === 0)
  for (const view of views.slice(1)) await view.agrees(server, 'chat')
  await until('nothing is left', () => server.memory().presenceBytes === 0)
})
