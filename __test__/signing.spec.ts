// Envelopes that a server signs, and those that it asks its clients to sign.
import { decode, encode } from '@msgpack/msgpack'
import test from 'ava'
import { type SigningKey, signEnvelope, verifyEnvelope } from 'wse-server'
import { connect } from './harness/connect.js'
import { Application, startServer, warned } from './harness/server.js'
import { isSigned, signed } from './harness/signature.js'

const today: SigningKey = { kid: 'today', secret: 'the secret of today, which has 32 bytes and more' }
const before: SigningKey = { kid: 'before', secret: 'the secret before it, which has 32 bytes and more' }
const foreign: SigningKey = { kid: 'today', secret: 'the secret of somebody else, with 32 bytes and more' }
const signing = { keys: [today, before], types: ['order_*'] }

test('signs publications and unicasts of the types that are named, for clients of version 2', async (t) => {
  const server = await startServer(t, { signing, topics: { allow: ['orders'] } })
  const native = await connect(t, server)
  const packed = await connect(t, server, { path: '/wse?format=msgpack' })
  const old = await connect(t, server, { path: '/wse?protocol_version=1' })
  for (const connection of [native, packed, old]) await connection.subscribe(['orders'])
  server.broadcast('orders', { t: 'order_new', p: { price: 10.25, größe: [1e21, 'ä\n'] } })
  server.broadcast('orders', { t: 'chat' })
  server.sendEvent(native.id, { t: 'order_done' })

  const order = await native.next('order_new')
  t.true(isSigned(order, today.secret))
  t.true(isSigned(decode((await packed.nextBytes()).subarray(2)) as object, today.secret))
  t.false('sig' in (await old.next('order_new')))
  t.false('sig' in (await native.next('chat')))
  const done = await native.next('order_done')
  t.is(done.seq, 1)
  t.true(isSigned(done, today.secret))
})

test('believes a signed message once, on whatever connection and thread it comes', async (t) => {
  const server = await startServer(t, { signing, shards: 2 })
  const application = new Application(server)
  const [first, second] = [await connect(t, server), await connect(t, server)]
  for (const key of [today, before]) {
    const message = signed({ t: 'order_new', p: { n: 1 } }, key)
    first.send(message)
    const { data } = await application.next('msg')
    t.is(data.sig.kid, key.kid)
    for (const connection of [first, second]) {
      connection.send(message)
      t.like((await connection.next('error')).p, { code: 'INVALID_MESSAGE', message: 'the signature was seen before' })
    }
  }
  t.deepEqual(
    application.waiting.filter(({ type }) => type === 'msg'),
    [],
  )
})

const refusals: [title: string, message: () => string, reason: RegExp][] = [
  ['without a signature', () => '{"t":"order_new"}', /no signature/],
  ['with a signature of version 1', () => '{"t":"order_new","sig":"bWFj"}', /no signature/],
  ['signed two minutes ago', () => signed({ t: 'order_new' }, today, Date.now() - 120_000), /ms off/],
  ['signed in the future', () => signed({ t: 'order_new' }, today, Date.now() + 120_000), /ms off/],
  ['signed with an unknown key', () => signed({ t: 'order_new' }, { ...today, kid: 'who' }), /unknown/],
  ['signed with another secret', () => signed({ t: 'order_new' }, foreign), /does not belong/],
  ['changed on the way', () => signed({ t: 'order_new', n: 1 }, today).replace('"n":1', '"n":2'), /does not belong/],
  ['with an integer that not every reader keeps', () => '{"t":"order_new","n":9007199254740993}', /digits|number/i],
]

for (const [title, message, reason] of refusals) {
  test(`drops a message ${title}, says why, and goes on`, async (t) => {
    const server = await startServer(t, { signing })
    const application = new Application(server)
    const [offender, healthy] = [await connect(t, server), await connect(t, server)]
    offender.send(message())
    const { p } = await offender.next('error')
    t.is(p.code, 'INVALID_MESSAGE')
    t.regex(p.message as string, reason)
    for (const connection of [offender, healthy]) {
      connection.send(signed({ t: 'order_new', p: { connId: connection.id } }, today))
      t.is((await application.next('msg')).data.p.connId, connection.id)
    }
  })
}

test('asks for the signatures of requests that the application answers, and of no transport message', async (t) => {
  const server = await startServer(t, { signing: { keys: [today], types: ['*'] }, topics: { allow: ['*'] } })
  server.handle('sum', ({ payload }) => ({ t: 'sum', p: { sum: payload.a + payload.b } }))
  const connection = await connect(t, server)
  t.like(await connection.subscribe(['news']), { success: true })
  connection.send({ t: 'health_check' })
  await connection.next('health_check_response')
  connection.send({ t: 'sum', p: { a: 1, b: 2 } })
  t.like((await connection.next('error')).p, { code: 'INVALID_MESSAGE' })
  connection.send(signed({ t: 'sum', p: { a: 1, b: 2 } }, today))
  const answer = await connection.next('sum')
  t.is(answer.p.sum, 3)
  t.true(isSigned(answer, today.secret))
})

test('leaves the signatures of version 1 alone, unless all must sign', async (t) => {
  const path = '/wse?protocol_version=1'
  const message = '{"c":"U","t":"order_new","p":{},"sig":"bWFj"}'
  const server = await startServer(t, { signing })
  const application = new Application(server)
  const connection = await connect(t, server, { path })
  connection.send(message)
  t.is((await application.next('msg')).text, message)
  server.sendEvent(connection.id, { t: 'order_new', sig: 'bWFj' })
  t.is((await connection.next('order_new')).sig, 'bWFj')

  const strict = await startServer(t, { signing: { ...signing, require: 'all' } })
  const refused = await connect(t, strict, { path })
  refused.send(message)
  t.like((await refused.next('error')).p, { code: 'INVALID_MESSAGE' })
})

test('looks only at signatures that are there when none is required', async (t) => {
  const server = await startServer(t, { signing: { ...signing, require: false } })
  const application = new Application(server)
  const connection = await connect(t, server)
  connection.send({ t: 'order_new', p: { n: 1 } })
  t.is((await application.next('msg')).data.p.n, 1)
  connection.send(signed({ t: 'order_new', p: { n: 2 } }, foreign))
  t.like((await connection.next('error')).p, { code: 'INVALID_MESSAGE' })
})

test('signs for the server what a Node.js client sends, and verifies what the server signed', async (t) => {
  const server = await startServer(t, { signing })
  const application = new Application(server)
  const connection = await connect(t, server)
  connection.send(signEnvelope({ t: 'order_new', p: { n: 1 } }, before))
  t.is((await application.next('msg')).data.p.n, 1)
  const text = signEnvelope('{ "t": "order_new", "p": {"n": 1.50} }', before)
  t.true(text.startsWith('{ "t": "order_new", "p": {"n": 1.50}'), 'its own bytes stay')
  t.true(isSigned(JSON.parse(text), before.secret))
  connection.socket.send(encode(JSON.parse(text)))
  connection.send(text)
  t.is((await application.next('msg')).data.p.n, 1.5)

  server.sendEvent(connection.id, { t: 'order_new' })
  const received = await connection.nextText((text) => text.includes('order_new'))
  const { kid, ts, nonce } = verifyEnvelope(received, [before, today])
  t.is(kid, 'today')
  t.true(Math.abs(Date.now() - ts) < 60_000)
  t.regex(nonce, /^[\w-]{22}$/)
})

test('refuses keys and envelopes that cannot be used, and repeats no secret', (t) => {
  const message = signed({ t: 'x' }, today)
  const bad: [call: () => unknown, code: string][] = [
    [() => verifyEnvelope(message, [foreign]), 'WSE_SIGNATURE_INVALID'],
    [() => verifyEnvelope(message, []), 'WSE_SIGNATURE_INVALID'],
    [() => verifyEnvelope('{"t":"x"}', [today]), 'WSE_SIGNATURE_INVALID'],
    [() => verifyEnvelope('text', [today]), 'WSE_SIGNATURE_INVALID'],
    [() => verifyEnvelope(signed({ t: 'x' }, today, Date.now() - 120_000), [today]), 'WSE_SIGNATURE_INVALID'],
    [() => signEnvelope(message, today), 'WSE_MESSAGE_INVALID'],
    [() => signEnvelope('[]', today), 'WSE_MESSAGE_INVALID'],
    [() => signEnvelope('{"n":9007199254740993}', today), 'WSE_MESSAGE_INVALID'],
    [() => signEnvelope({ t: '\ud800' }, today), 'WSE_MESSAGE_INVALID'],
    [() => signEnvelope({ t: 'x' }, { kid: 'a', secret: 'too short' }), 'WSE_OPTION_INVALID'],
    [() => signEnvelope({ t: 'x' }, { kid: '', secret: today.secret }), 'WSE_OPTION_INVALID'],
    [() => signEnvelope({ t: 'x' }, today.secret as never), 'WSE_OPTION_INVALID'],
    [() => signEnvelope({ t: 'x' }, undefined as never), 'WSE_OPTION_INVALID'],
  ]
  for (const [call, code] of bad) {
    const error = t.throws(call, { code })
    t.notRegex(error?.message ?? '', /too short|of today|somebody else/)
  }
})

test('tells whoever runs the server of a message that cannot be signed, and its readers of the gap', async (t) => {
  const warning = warned(t, 'WseSigningWarning')
  const server = await startServer(t, { signing })
  const connection = await connect(t, server)
  server.broadcastAll('{"t":"order_new","p":{"n":9007199254740993}}')
  t.is((await connection.next('gap')).p.count, 1)
  const { message, detail } = await warning
  t.regex(`${message} ${detail}`, /could not be signed.*double/s)
})
