// Late joiners begin a topic with what was published last.
import test, { type ExecutionContext } from 'ava'
import type { JsonObject, ServerOptions } from 'wse-server'
import { type Connection, type ConnectOptions, connect } from './harness/connect.js'
import { startServer } from './harness/server.js'

async function start(t: ExecutionContext, options: ServerOptions = {}, how: ConnectOptions = {}) {
  const server = await startServer(t, { topics: { allow: ['*'], deny: ['secret'] }, recovery: true, ...options })
  const publish = async (topic: string, from: number, to: number) => {
    for (let n = from; n <= to; n++) await server.publish(topic, { t: 'news', p: { n } })
  }
  const join = async (topics: string[], members: JsonObject) => {
    const connection = await connect(t, server, how)
    connection.send({ t: 'subscription_update', p: { action: 'subscribe', topics, ...members } })
    return connection
  }
  return { server, publish, join }
}

/** Where the reply to its request says that the connection stands, by topic. */
const standOf = async (connection: Connection) =>
  (await connection.next('subscription_update')).p.recovery as Record<string, JsonObject>

test('begins with the last publications, and goes on with what comes', async (t) => {
  const { publish, join } = await start(t)
  await publish('news', 1, 10)
  const connection = await join(['news'], { history: 3 })
  for (const o of [8, 9, 10]) t.like(await connection.next('news'), { tp: 'news', o, p: { n: o } })
  const stand = await standOf(connection)
  t.like(stand.news, { offset: 10, count: 3 })
  t.false('recovered' in (stand.news ?? {}))
  await publish('news', 11, 11)
  t.like(await connection.next('news'), { o: 11 })
})

test('has as many as are kept', async (t) => {
  const { publish, join } = await start(t, { recovery: { slots: 4 } })
  await publish('news', 1, 10)
  const connection = await join(['news'], { history: 1_000 })
  for (const o of [7, 8, 9, 10]) t.like(await connection.next('news'), { o })
  t.like((await standOf(connection)).news, { offset: 10, count: 4 })
})

test('tells nobody that something was lost who asked for no position', async (t) => {
  const { publish, join } = await start(t, { recovery: { topics: ['news', 'quiet'] } })
  await publish('news', 1, 3)
  const connection = await join(['news', 'quiet', 'unlogged', 'n*', 'secret'], { history: 0 })
  const stand = await standOf(connection)
  const epoch: string = stand.news?.epoch
  t.deepEqual(stand, {
    news: { epoch, offset: 3, count: 0 },
    quiet: { epoch, offset: 0, count: 0 },
    // Refused.
    secret: { epoch: null, offset: null, recovered: false, count: 0 },
  })
})

test('begins where a position is named behind it', async (t) => {
  const { server, publish, join } = await start(t)
  await publish('news', 1, 5)
  await publish('weather', 1, 4)
  const position = await server.publish('weather', { t: 'news', p: { n: 5 } })
  await publish('weather', 6, 7)
  const connection = await join(['news', 'weather'], { history: 1, recover: true, recovery: { weather: position } })
  const heard: string[] = []
  for (let n = 0; n < 3; n++) {
    const { tp, o } = (await connection.next('news')) as JsonObject
    heard.push(`${tp} ${o}`)
  }
  t.deepEqual(heard.sort(), ['news 5', 'weather 6', 'weather 7'])
  const stand = await standOf(connection)
  t.like(stand.news, { offset: 5, count: 1 })
  t.like(stand.weather, { offset: 7, recovered: true, count: 2 })
})

test('refuses a history that is no whole number', async (t) => {
  const { join } = await start(t)
  for (const history of [-1, 1.5, '3', true]) {
    const connection = await join(['news'], { history })
    t.like((await connection.next('error')).p, { code: 'INVALID_SUBSCRIPTION' })
  }
})

test('is of version 2: a client of version 1 begins with what comes', async (t) => {
  const { publish, join } = await start(t, {}, { path: '/wse?protocol_version=1' })
  await publish('news', 1, 3)
  const connection = await join(['news'], { history: 3 })
  const stand = await standOf(connection)
  t.like(stand.news, { offset: 3 })
  t.false('count' in (stand.news ?? {}))
})
