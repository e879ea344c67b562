// Encryption between a client and the server, and from client to client, read with crypto of Node.js and jose.
import test from 'ava'
import { CompactEncrypt, compactDecrypt } from 'jose'
import { connect } from './harness/connect.js'
import { entrances } from './harness/entrances.js'
import { Listener, listen } from './harness/listener.js'
import { Application, startServer } from './harness/server.js'

const open = { topics: { allow: ['*'] } }

for (const { name, open: enter } of entrances.filter(({ name }) => /own$|node:http$|streams/.test(name))) {
  test(`both sides read what only they can read, ${name}`, async (t) => {
    const service = await enter(t, open)
    const application = new Application(service.wse)
    for (const query of ['', '&protocol_version=1', '&format=msgpack']) {
      const listener = await listen(t, service, `encryption=true&topics=news${query}`)
      service.wse.broadcast('news', { t: 'news', p: { text: 'grün' } })
      service.wse.send(listener.connection.id, JSON.stringify({ t: 'note', p: {} }))
      const news = await listener.next('news')
      t.like(news, { carrier: 'sealed', envelope: { p: { text: 'grün' } } })
      t.like(await listener.next('note'), { carrier: 'sealed', envelope: { seq: 1 } })
      listener.sendSealed({ t: 'order', p: { n: 7 } })
      t.like((await application.next('msg')).data, { t: 'order', p: { n: 7 } })
      listener.sendSealed({ t: 'ping', p: { timestamp: 5 } })
      t.like(await listener.next('PONG'), { carrier: 'text', envelope: { p: { client_timestamp: 5 } } })
    }
  })
}

test('nothing of the application leaves before the key, and nothing in the clear', async (t) => {
  const server = await startServer(t, open)
  const listener = new Listener(await connect(t, server, { path: '/wse?encryption=true&topics=news' }))
  const heard: Buffer[] = []
  listener.connection.socket.on('message', (data) => heard.push(data as Buffer))
  for (let n = 0; n < 5; n++) server.broadcast('news', { t: 'news', p: { n, word: 'swordfish' } })
  await listener.connection.roundTrip()
  t.is(heard.length, 1)
  const { features, encryption_public_key } = await listener.hello()
  t.like(features, { encryption: true })
  for (let n = 0; n < 5; n++) t.like(await listener.next('news'), { carrier: 'sealed', envelope: { p: { n } } })
  t.false(Buffer.concat(heard).includes('swordfish'))
  t.is((await listener.hello()).encryption_public_key, encryption_public_key, 'keys are exchanged once')
})

test('a bad key is told, and the connection goes on in plain text', async (t) => {
  const server = await startServer(t, open)
  const listener = new Listener(await connect(t, server, { path: '/wse?encryption=true&topics=news' }))
  const hello = await listener.hello('no key')
  t.like((await listener.next('error')).envelope.p, { code: 'KEY_EXCHANGE_FAILED', recoverable: true })
  t.like(hello, { features: { encryption: false } })
  t.false('encryption_public_key' in hello)
  server.broadcast('news', { t: 'news', p: {} })
  t.is((await listener.next('news')).carrier, 'text')
})

test('three messages that cannot be opened end the connection', async (t) => {
  const server = await startServer(t)
  const listener = await listen(t, server, 'encryption=true')
  for (let n = 0; n < 3; n++) listener.connection.send(Buffer.concat([Buffer.from('E:'), Buffer.alloc(40, n)]))
  for (let n = 0; n < 3; n++) t.is((await listener.next('error')).envelope.p.code, 'DECRYPTION_FAILED')
  t.is((await listener.connection.closed()).code, 1002)
})

test('keys change when a client asks for it', async (t) => {
  const server = await startServer(t, open)
  const listener = await listen(t, server, 'encryption=true&topics=news')
  const before = listener.key
  const rotate = async () => {
    const encryption_public_key = listener.publicKey()
    listener.connection.send({ t: 'key_rotation_request', p: { encryption_public_key } })
    return (await listener.next('error', 'key_rotation_response')).envelope
  }
  let answer = await rotate()
  t.is(answer.p.code, 'RATE_LIMITED', 'the hello was an exchange of this second')
  while (answer.t === 'error') answer = await rotate()
  t.true(answer.p.success)
  t.notDeepEqual(listener.key, before)
  server.broadcast('news', { t: 'news', p: {} })
  t.is((await listener.next('news')).carrier, 'sealed')
})

for (const query of ['', 'compression=payload', 'compression=true', 'format=msgpack', 'encryption=true']) {
  test(`what clients encrypt for each other passes untouched${query && `, with ${query}`}`, async (t) => {
    const server = await startServer(t, open)
    const application = new Application(server)
    // The clients know it from elsewhere; the server never does.
    const key = new Uint8Array(32).fill(7)
    const secret = JSON.stringify({ text: 'for your eyes only '.repeat(200) })
    const header = { alg: 'dir', enc: 'A256GCM' } as const
    const enc = await new CompactEncrypt(Buffer.from(secret)).setProtectedHeader(header).encrypt(key)
    const [writer, reader] = [await connect(t, server), await listen(t, server, `${query}&topics=room`)]
    writer.send({ t: 'note', p: { enc }, enc: true })
    server.broadcast('room', (await application.next('msg')).text)
    const { carrier, envelope } = await reader.next('note')
    t.not(carrier, 'payload')
    t.true(envelope.enc)
    t.deepEqual(envelope.p, { enc })
    const { plaintext } = await compactDecrypt(String(envelope.p.enc), key)
    t.is(Buffer.from(plaintext).toString(), secret)
  })
}
