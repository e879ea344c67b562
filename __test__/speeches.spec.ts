// One publication for clients that speak in different ways, read with implementations that are not ours.
import { deflateSync } from 'node:zlib'
import { encode } from '@msgpack/msgpack'
import test from 'ava'
import { connect } from './harness/connect.js'
import { entrances } from './harness/entrances.js'
import { type Carrier, type Listener, listen } from './harness/listener.js'
import { Application, startServer } from './harness/server.js'

const kinds: [query: string, version: 1 | 2, small: Carrier, large: Carrier][] = [
  ['', 2, 'text', 'text'],
  ['protocol_version=1', 1, 'text', 'text'],
  ['compression=true', 2, 'text', 'zlib'],
  ['compression=true&protocol_version=1', 1, 'text', 'zlib'],
  ['compression=payload', 2, 'text', 'payload'],
  ['compression=payload&protocol_version=1', 1, 'text', 'zlib'],
  ['format=msgpack', 2, 'msgpack', 'msgpack'],
  ['format=msgpack&protocol_version=1', 1, 'msgpack', 'msgpack'],
  ['encryption=true', 2, 'sealed', 'sealed'],
  ['encryption=true&protocol_version=1', 1, 'sealed', 'sealed'],
  ['encryption=true&format=msgpack&compression=true', 2, 'sealed', 'sealed'],
]
const open = { topics: { allow: ['*'] } }
const large = { list: Array.from({ length: 500 }, (_, n) => ({ n, price: n / 8, name: `nummer ${n} – ü😀` })) }

/** Holds `news`. */
async function subscribed(listener: Listener): Promise<Listener> {
  listener.connection.send({ t: 'subscription_update', p: { action: 'subscribe', topics: ['news'] } })
  await listener.next('subscription_update')
  return listener
}

const places = ['on a port of its own', 'on node:http', 'on the streams of node:http', 'on node:https']
for (const { name, open: enter } of entrances.filter(({ name }) => places.includes(name))) {
  test(`a publication says the same to everyone, however they speak, ${name}`, async (t) => {
    const service = await enter(t, open)
    const listeners = []
    for (const [query] of kinds) listeners.push(await subscribed(await listen(t, service, query)))
    service.wse.broadcast('news', { t: 'small', p: { n: 1 }, id: 'own' })
    service.wse.broadcast('news', { t: 'large', p: large })
    const [first] = listeners
    const own = (await first?.next('large'))?.envelope
    for (const [at, [query, version, ...carriers]] of kinds.entries()) {
      const listener = listeners[at] as Listener
      const [one, two] = [await listener.next('small'), at === 0 ? null : await listener.next('large')]
      const category = version === 1 ? { c: 'U' } : { _msg_cat: 'U' }
      t.deepEqual([one.carrier, two?.carrier ?? 'text'], carriers, query)
      t.like(one.envelope, { v: version, p: { n: 1 }, id: 'own', ...category }, query)
      t.false((version === 1 ? '_msg_cat' : 'c') in one.envelope, query)
      if (two !== null) t.like(two.envelope, { id: own?.id ?? '', ts: own?.ts ?? '', v: version, ...category }, query)
      if (two !== null) t.deepEqual(two.envelope.p, large, query)
    }
  })
}

test('messages of a client say the same, whatever carries them', async (t) => {
  const server = await startServer(t)
  const application = new Application(server)
  const envelope = { t: 'order', p: { n: 7, list: [1.5, null, 'ü'] } }
  const text = JSON.stringify(envelope)
  const [json, packed] = [await connect(t, server), await connect(t, server, { path: '/wse?format=msgpack' })]
  const prefixed = (prefix: string, body: Uint8Array) => Buffer.concat([Buffer.from(prefix), body])
  const messages = [
    prefixed('C:', deflateSync(text)),
    deflateSync(text),
    prefixed('M:', encode(envelope)),
    Buffer.from(text),
    Buffer.from(`U${text}`),
  ]
  for (const message of messages) json.send(message)
  packed.send(encode(envelope))
  for (let n = 0; n <= messages.length; n++) t.like((await application.next('msg')).data, envelope)
  const own = Buffer.from([0xff, 0, 1])
  json.send(own)
  t.deepEqual(Buffer.from((await application.next('bin')).bytes), own)
})

test('what cannot be inflated is told, and what inflates too far ends its connection alone', async (t) => {
  const server = await startServer(t, open)
  const [broken, bomb, neighbour] = [await connect(t, server), await connect(t, server), await connect(t, server)]
  await neighbour.subscribe(['news'])
  broken.send(Buffer.from('C:nothing of the kind'))
  t.is((await broken.next('error')).p.code, 'INVALID_MESSAGE')
  await broken.roundTrip()
  bomb.send(Buffer.concat([Buffer.from('C:'), deflateSync(Buffer.alloc(32 << 20))]))
  t.is((await bomb.closed()).code, 1009)
  server.broadcast('news', { t: 'news', p: {} })
  await neighbour.next('news')
})

test('the option says from which length messages are compressed, and whether at all', async (t) => {
  const text = (length: number) => ({ t: 'news', p: { text: 'ab'.repeat(length / 2) } })
  const carriers = async (compression: boolean | object, query = 'compression=true') => {
    const server = await startServer(t, { ...open, compression })
    const listener = await subscribed(await listen(t, server, query))
    const found: Carrier[] = []
    for (const length of [10, 400, 4_000]) {
      server.broadcast('news', text(length))
      found.push((await listener.next('news')).carrier)
    }
    return found
  }
  t.deepEqual(await carriers(true), ['text', 'text', 'zlib'])
  t.deepEqual(await carriers({ thresholdBytes: 300 }), ['text', 'zlib', 'zlib'])
  t.deepEqual(await carriers({ thresholdBytes: 5_000 }), ['text', 'text', 'text'])
  t.deepEqual(await carriers({ thresholdBytes: 300, level: 1 }, 'compression=payload'), ['text', 'payload', 'payload'])
  t.deepEqual(await carriers(false), ['text', 'text', 'text'])
  t.deepEqual(await carriers({ level: 0 }), ['text', 'text', 'text'])
})

test('a higher level makes less of the same', async (t) => {
  const sizes: number[] = []
  for (const level of [1, 9]) {
    const server = await startServer(t, { ...open, compression: { level } })
    const connection = await connect(t, server, { path: '/wse?compression=true' })
    await connection.subscribe(['news'])
    server.broadcast('news', { t: 'news', p: large })
    sizes.push((await connection.nextBytes()).length)
  }
  t.true((sizes[1] as number) < (sizes[0] as number))
})

test('a hello asks for compression too', async (t) => {
  const server = await startServer(t, open)
  const listener = await subscribed(await listen(t, server))
  listener.connection.send({ t: 'client_hello', p: { features: { compression: true } } })
  t.like((await listener.next('server_hello')).envelope.p, { features: { compression: true, msgpack: false } })
  server.broadcast('news', { t: 'news', p: large })
  t.is((await listener.next('news')).carrier, 'zlib')
})

test('text and bytes that are no envelope pass as they are in every kind', async (t) => {
  const server = await startServer(t, open)
  const bytes = Buffer.from('C no prefix of ours')
  for (const [query] of kinds) {
    const listener = await subscribed(await listen(t, server, query))
    const [text, own]: Carrier[] = query.includes('encryption') ? ['sealed', 'sealed'] : ['text', 'bytes']
    server.broadcast('news', 'no envelope')
    t.deepEqual(
      await listener.nextOther(),
      { carrier: text as Carrier, envelope: null, bytes: Buffer.from('no envelope') },
      query,
    )
    server.broadcastAllBytes(bytes)
    t.deepEqual(await listener.nextOther(), { carrier: own as Carrier, envelope: null, bytes }, query)
    await listener.connection.close()
  }
})
