import test from 'ava'
import { connect } from './harness/connect.js'
import { type RunningServer, startServer } from './harness/server.js'

/** Connections that all hold the topic `prices`. */
async function subscribers(t: Parameters<typeof connect>[0], server: RunningServer, count: number) {
  const connections = await Promise.all(Array.from({ length: count }, () => connect(t, server)))
  await Promise.all(connections.map(({ id }) => server.subscribeConnection(id, ['prices'])))
  return connections
}

test('delivers a publication to each subscriber once and to nobody else', async (t) => {
  const server = await startServer(t)
  const connections = await subscribers(t, server, 20)
  const stranger = await connect(t, server)
  t.true(server.broadcast('prices', { t: 'price', p: { symbol: 'IBM', close: 81.1 } }))
  for (const connection of connections) {
    t.deepEqual((await connection.next('price')).p, { symbol: 'IBM', close: 81.1 })
    await connection.roundTrip()
    t.deepEqual(connection.waiting, [])
  }
  await stranger.roundTrip()
  t.deepEqual(stranger.waiting, [])
})

interface Price {
  t: string
  p: { symbol: string }
  source: string
}

class Quote implements Price {
  readonly t = 'quote'
  readonly p = { symbol: 'IBM' }
  readonly source = 'XETR'
}

test('takes events that have types of their own', async (t) => {
  const server = await startServer(t)
  const [reader] = await subscribers(t, server, 1)
  const price: Price = { t: 'price', p: { symbol: 'IBM' }, source: 'XETR' }
  server.handle('last', (): Price => price)
  for (const event of [price, new Quote()]) {
    await server.publish('prices', event)
    server.broadcast('prices', event)
    server.sendEvent(reader?.id ?? '', event)
    server.sendToUser('nobody', event)
    for (let n = 0; n < 3; n++) t.like(await reader?.next(event.t), { ...event })
  }
  reader?.send({ t: 'last', p: {} })
  t.like(await reader?.next('price'), price)
})

test('completes the envelope and keeps what the publisher gave', async (t) => {
  const server = await startServer(t)
  const [connection] = await subscribers(t, server, 1)
  server.broadcast('prices', { t: 'price', p: { a: 1 }, cid: 'c-1', pri: 8, custom: [1, { deep: true }] })
  const envelope = await connection?.next('price')
  t.like(envelope, { t: 'price', p: { a: 1 }, cid: 'c-1', pri: 8, v: 2, _msg_cat: 'U' })
  t.deepEqual(envelope?.custom, [1, { deep: true }])
  t.regex(envelope?.id ?? '', /^[0-9a-f-]{36}$/)
  t.regex(envelope?.ts ?? '', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  t.is(envelope?.seq, undefined)

  server.broadcast('prices', JSON.stringify({ t: 'price', id: 'mine', ts: 'then' }))
  t.like(await connection?.next('price'), { id: 'mine', ts: 'then', p: {} })
})

test('gives a snapshot its category and takes the category that was set', async (t) => {
  const server = await startServer(t)
  const [connection] = await subscribers(t, server, 1)
  server.broadcast('prices', { t: 'orders_snapshot', p: {} })
  t.is((await connection?.next('orders_snapshot'))?._msg_cat, 'S')
  server.broadcast('prices', { t: 'order', p: {}, _msg_cat: 'S' })
  t.is((await connection?.next('order'))?._msg_cat, 'S')
  server.broadcast('prices', 'S{"t":"prefixed","p":{}}')
  t.is((await connection?.next('prefixed'))?._msg_cat, 'S')
})

for (const member of ['tp', 'e', 'o', 'topic', 'epoch', 'offset']) {
  test(`refuses a publication that forges the stamp ${member}, and delivers nothing of it`, async (t) => {
    const server = await startServer(t)
    const [connection] = await subscribers(t, server, 1)
    t.throws(() => server.broadcast('prices', { t: 'price', p: {}, [member]: 'x' }), { code: 'WSE_RESERVED_MEMBER' })
    t.throws(
      () => server.broadcastAll(`{"t":"price","\\u00${member.charCodeAt(0).toString(16)}${member.slice(1)}":1}`),
      {
        code: 'WSE_RESERVED_MEMBER',
      },
    )
    await connection?.roundTrip()
    t.deepEqual(connection?.waiting, [])
  })
}

test('sends text that is no JSON object as it is', async (t) => {
  const server = await startServer(t)
  const [connection] = await subscribers(t, server, 1)
  for (const text of ['plain text', '[1,2]', '"quoted"', '{"broken":', '']) {
    server.broadcast('prices', text)
    t.is(await connection?.nextText(), text)
  }
})

test('sends everything as it is when the envelope is off, with no greeting and no messages of its own', async (t) => {
  const server = await startServer(t, { envelope: false })
  const connection = await connect(t, server, { greeted: false })
  server.broadcastAll('{"t":"price","tp":"x"}')
  t.is(await connection.nextText(), '{"t":"price","tp":"x"}')
  t.deepEqual(connection.waiting, [])
})

test('reaches every connection with broadcastAll, in text and in bytes', async (t) => {
  const server = await startServer(t)
  const connections = await Promise.all(Array.from({ length: 5 }, () => connect(t, server)))
  t.true(server.broadcastAll(JSON.stringify({ t: 'all', p: { n: 1 } })))
  t.true(server.broadcastAllBytes(Buffer.from([0, 255, 128])))
  for (const connection of connections) {
    t.deepEqual((await connection.next('all')).p, { n: 1 })
    t.deepEqual(await connection.nextBytes(), Buffer.from([0, 255, 128]))
  }
})

test('delivers local publications to the subscribers of this instance', async (t) => {
  const server = await startServer(t)
  const [connection] = await subscribers(t, server, 1)
  t.true(server.broadcastLocal('prices', { t: 'local', p: {} }))
  await connection?.next('local')
})

test('says true for a topic that nobody holds', async (t) => {
  const server = await startServer(t)
  t.true(server.broadcast('nobody', { t: 'x', p: {} }))
})

test('keeps the order of publications and of messages to one connection', async (t) => {
  const server = await startServer(t)
  const connections = await subscribers(t, server, 3)
  for (let n = 0; n < 3_000; n++) {
    if (n % 3 === 0) for (const { id } of connections) server.send(id, JSON.stringify({ t: 'n', p: { n } }))
    else if (n % 3 === 1) server.broadcast('prices', { t: 'n', p: { n } })
    else server.broadcastAll(JSON.stringify({ t: 'n', p: { n } }))
  }
  for (const connection of connections) {
    for (let n = 0; n < 3_000; n++) t.deepEqual((await connection.next('n')).p, { n })
  }
})

test('refuses to publish what a client would not take', async (t) => {
  const server = await startServer(t)
  const [connection] = await subscribers(t, server, 1)
  const tooLarge = 'x'.repeat(1_048_577)
  t.throws(() => server.broadcast('prices', tooLarge), { code: 'WSE_MESSAGE_TOO_LARGE' })
  t.throws(() => server.broadcastAll(tooLarge), { code: 'WSE_MESSAGE_TOO_LARGE' })
  t.throws(() => server.broadcastAllBytes(Buffer.alloc(1_048_577)), { code: 'WSE_MESSAGE_TOO_LARGE' })
  t.throws(() => server.send(connection?.id ?? '', tooLarge), { code: 'WSE_MESSAGE_TOO_LARGE' })
  // Thirty bytes stay free for a subscriber that asks for encryption.
  server.broadcast('prices', 'x'.repeat(1_048_546))
  t.is((await connection?.nextText())?.length, 1_048_546)
  t.throws(() => server.broadcast('prices', 'x'.repeat(1_048_547)), { code: 'WSE_MESSAGE_TOO_LARGE' })
})

test('refuses a topic that is none', async (t) => {
  const server = await startServer(t)
  for (const topic of ['', 'a'.repeat(256), 'line\nbreak']) {
    t.throws(() => server.broadcast(topic, 'x'), { code: 'WSE_TOPIC_INVALID' })
  }
})

test('sends characters of every kind unharmed', async (t) => {
  const server = await startServer(t)
  const [connection] = await subscribers(t, server, 1)
  const text = 'grün 漢字 🎈 \u0000 \ud83d'
  server.broadcast('prices', { t: 'words', p: { text } })
  // A lone surrogate has no UTF-8: JSON.stringify writes it as an escape.
  t.deepEqual((await connection?.next('words'))?.p, { text })
})
