import { inspect } from 'node:util'
import test from 'ava'
import type { InboundEvent, JsonObject } from 'wse-server'
import { Arrivals, gate, within } from './harness/arrivals.js'
import { connect } from './harness/connect.js'
import { FLOOD, turnsDuringFlood } from './harness/flood.js'
import { Application, startServer, warned } from './harness/server.js'
import { secret, tokenOf } from './harness/tokens.js'

test('calls each callback with the events that it wants, in the order of the connection', async (t) => {
  const server = await startServer(t)
  const seen = new Arrivals<InboundEvent>()
  const take = (event: InboundEvent) => seen.push(event)
  server.setCallbacks({ onConnect: take, onMessage: take, onRaw: take, onBinary: take, onDisconnect: take })
  const connection = await connect(t, server)
  connection.send({ t: 'chat', p: { n: 1 } })
  connection.send('text')
  connection.send(Buffer.from([7]))
  await connection.close()
  const events = [await seen.next('the end', ({ type }) => type === 'disconnect'), ...seen.waiting]
  t.deepEqual(
    events.map(({ type }) => type),
    ['disconnect', 'connect', 'msg', 'raw', 'bin'],
  )
  t.true(events.every(({ connId }) => connId === connection.id))
})

test('gives a connection with a user to onConnect as well', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  const users = new Arrivals<string>()
  server.setCallbacks({ onConnect: (event) => users.push(event.type === 'auth_connect' ? event.userId : event.type) })
  await connect(t, server, { token: await tokenOf('anna') })
  t.is(await users.next('a user'), 'anna')
})

test('passes over what nobody wants', async (t) => {
  const server = await startServer(t)
  const texts = new Arrivals<string>()
  server.setCallbacks({ onConnect: null, onMessage: undefined, onRaw: ({ text }) => texts.push(text) })
  const connection = await connect(t, server)
  connection.send({ t: 'chat', p: {} })
  connection.send('text')
  t.is(await texts.next('a text'), 'text')
  t.is(server.inboundQueueDepth(), 0)
})

test('waits for a promise before the next event of its connection, and not for other connections', async (t) => {
  const server = await startServer(t)
  const [isFree, setFree] = gate()
  const began = new Arrivals<string>()
  let slow = ''
  server.setCallbacks({
    onConnect: ({ connId }) => {
      began.push(`connect ${connId}`)
      slow ||= connId
      return connId === slow ? isFree : undefined
    },
    onRaw: async ({ connId, text }) => {
      began.push(`${text} ${connId}`)
      await null
    },
    onDisconnect: ({ connId }) => began.push(`disconnect ${connId}`),
  })
  const one = await connect(t, server)
  t.is(await began.next('the first'), `connect ${one.id}`)
  one.send('a')
  one.send('b')
  await one.close()
  const other = await connect(t, server)
  other.send('c')
  t.is(await began.next('the other'), `connect ${other.id}`)
  t.is(await began.next('its text'), `c ${other.id}`)
  setFree()
  for (const what of ['a', 'b', 'disconnect']) t.is(await began.next(what), `${what} ${one.id}`)
})

test('never lets two callbacks of one connection run at the same time', async (t) => {
  const server = await startServer(t, { rateLimit: false })
  const order = new Arrivals<number>()
  let running = 0
  server.setCallbacks({
    onRaw: async ({ text }) => {
      running += 1
      t.is(running, 1)
      // Some take turns of the event loop, some only a microtask, some nothing.
      if (Number(text) % 3 === 0) await new Promise((resolve) => setImmediate(resolve))
      else if (Number(text) % 3 === 1) await null
      running -= 1
      order.push(Number(text))
    },
  })
  const connection = await connect(t, server)
  const count = 3_000
  for (let n = 0; n < count; n++) connection.send(String(n))
  for (let n = 0; n < count; n++) t.is(await order.next('a number'), n)
})

test('does not wait for the one before when order is not wanted', async (t) => {
  const server = await startServer(t)
  const began = new Arrivals<string>()
  const [isFree, setFree] = gate()
  server.setCallbacks(
    {
      onRaw: ({ text }) => {
        began.push(text)
        return isFree
      },
    },
    { inOrder: false },
  )
  const connection = await connect(t, server)
  connection.send('a')
  connection.send('b')
  t.is(await began.next('the first'), 'a')
  t.is(await began.next('the second'), 'b')
  setFree()
})

for (const inOrder of [true, false]) {
  test(`takes no more than may be unfinished, loses nothing and slows the sender (inOrder: ${inOrder})`, async (t) => {
    const server = await startServer(t, { rateLimit: false, inbound: { maxBytesPerConnection: 64 * 1024 } })
    const [isFree, setFree] = gate()
    const done = new Arrivals<string>()
    let unfinished = 0
    server.setCallbacks(
      {
        onRaw: async ({ text }) => {
          unfinished += 1
          t.true(unfinished <= 10)
          await isFree
          unfinished -= 1
          done.push(text.slice(0, text.indexOf(' ')))
        },
      },
      { inOrder, concurrency: 10 },
    )
    const connection = await connect(t, server)
    const other = await connect(t, server)
    const count = 20_000
    const padding = 'x'.repeat(1_000)
    for (let n = 0; n < count; n++) connection.send(`${n} ${padding}`)
    for (let n = 0; n < 100; n++) await other.roundTrip()
    t.true(connection.socket.bufferedAmount > 0)
    // In order, what came before the engine stopped reading waits behind the callback.
    if (!inOrder) t.true(server.inboundQueueDepth() > 0)
    setFree()
    for (let n = 0; n < count; n++) t.is(await done.next('a number'), String(n))
    t.is(server.inboundDroppedCount(), 0)
  })
}

test('holds back the client whose callbacks cannot follow, and no other', async (t) => {
  const server = await startServer(t, { rateLimit: false, inbound: { maxBytesPerConnection: 64 * 1024 } })
  const [isFree, setFree] = gate()
  const done = new Arrivals<string>()
  let busy = ''
  server.setCallbacks(
    {
      onRaw: async ({ connId, text }) => {
        if (connId === busy) await isFree
        done.push(text.trimEnd())
      },
    },
    { concurrency: 10 },
  )
  const fast = await connect(t, server)
  busy = fast.id
  const other = await connect(t, server)
  const count = 20_000
  for (let n = 0; n < count; n++) fast.send(String(n).padEnd(1_000))
  for (let n = 0; n < 100; n++) {
    other.send(`other ${n}`)
    t.is(await done.next('an event of the other client'), `other ${n}`)
  }
  t.true(fast.socket.bufferedAmount > 0)
  setFree()
  for (let n = 0; n < count; n++) t.is(await done.next('a number'), String(n))
  t.is(server.inboundDroppedCount(), 0)
})

const nothing = Object.create(null) as unknown
for (const [title, fail] of [
  [
    'throws',
    () => {
      throw new Error('no luck')
    },
  ],
  ['rejects', () => Promise.reject(new Error('no luck'))],
  // biome-ignore lint/suspicious/noThenProperty: what is not a promise of the language is waited for too.
  ['is a thenable that throws', () => ({ then: () => { throw new Error('no luck') } })], // biome-ignore format: one line.
  ['rejects with what no text describes', () => Promise.reject(nothing)],
] as const) {
  test(`goes on with the events behind a callback that ${title}, and tells the log`, async (t) => {
    const lines = new Arrivals<[JsonObject, string]>()
    const say = (fields: JsonObject, event: string) => lines.push([fields, event])
    const server = await startServer(t, { logger: { debug: say, info: say, warn: say, error: say }, logLevel: 'error' })
    const texts = new Arrivals<string>()
    server.setCallbacks({ onMessage: fail, onRaw: ({ text }) => texts.push(text) })
    const connection = await connect(t, server)
    connection.send({ t: 'chat', p: {} })
    connection.send('still here')
    t.is(await texts.next('the next event'), 'still here')
    const [fields, event] = await lines.next('a line')
    t.is(event, 'wse.error')
    t.like(fields, { code: 'HANDLER_ERROR', callback: 'onMessage', conn_id: connection.id })
    if (title.endsWith('describes')) t.is(fields.err, nothing)
    else t.is((fields.err as Error).message, 'no luck')
  })
}

test.serial('warns of a callback that fails when there is no logger, whatever it fails with', async (t) => {
  const server = await startServer(t)
  const fault = {
    [inspect.custom]() {
      throw new Error('cannot be shown')
    },
  }
  const texts = new Arrivals<string>()
  server.setCallbacks({
    onConnect: () => {
      throw new Error('no luck')
    },
    onMessage: () => Promise.reject(fault),
    onRaw: ({ text }) => texts.push(text),
  })
  const first = warned(t, 'WseCallbackWarning')
  const connection = await connect(t, server)
  const { message, detail } = await first
  t.is(message, `onConnect failed for connection ${connection.id}`)
  t.regex(detail ?? '', /no luck/)

  const second = warned(t, 'WseCallbackWarning')
  connection.send({ t: 'chat', p: {} })
  connection.send('text')
  t.regex((await second).detail ?? '', /cannot be shown/)
  t.is(await texts.next('the event behind it'), 'text')
})

test('replaces callbacks, gives the events back to a loop, and loses none between', async (t) => {
  const server = await startServer(t)
  const [first, second] = [new Arrivals<string>(), new Arrivals<string>()]
  server.setCallbacks({ onRaw: ({ text }) => first.push(text) })
  const connection = await connect(t, server)
  connection.send('a')
  t.is(await first.next('the first'), 'a')
  server.setCallbacks({
    onRaw: ({ text }) => {
      second.push(text)
      // In the middle of a batch: what it has not handed out stays.
      if (text === 'c') server.setCallbacks(null)
    },
  })
  for (const text of ['b', 'c', 'd', 'e']) connection.send(text)
  t.is(await second.next('the second'), 'b')
  t.is(await second.next('the third'), 'c')
  const application = new Application(server)
  t.is((await application.next('raw')).text, 'd')
  t.is((await application.next('raw')).text, 'e')
})

test('hands out what still waits to callbacks that come when the server has closed', async (t) => {
  const server = await startServer(t)
  const connection = await connect(t, server)
  for (let n = 0; n < 10; n++) connection.send(String(n))
  await connection.roundTrip()
  await server.close()
  const seen = new Arrivals<string>()
  server.setCallbacks({ onRaw: ({ text }) => seen.push(text), onDisconnect: ({ code }) => seen.push(String(code)) })
  for (let n = 0; n < 10; n++) t.is(await seen.next('a text'), String(n))
  t.is(await seen.next('the end'), '1012')
})

test('hears of the end of every connection when the server closes', async (t) => {
  const server = await startServer(t)
  const ends = new Arrivals<number>()
  server.setCallbacks({ onDisconnect: ({ code }) => ends.push(code) })
  await connect(t, server)
  await connect(t, server)
  await server.close()
  t.is(await ends.next('an end'), 1012)
  t.is(await ends.next('an end'), 1012)
})

test('takes the events alone: a loop is refused beside callbacks, and callbacks beside a loop', async (t) => {
  const server = await startServer(t, { inbound: { maxBytes: 4_096, maxBytesPerConnection: 1_024 } })
  const texts = new Arrivals<string>()
  const [isFree, setFree] = gate()
  const onRaw = async ({ text }: { text: string }) => {
    await isFree
    texts.push(text)
  }
  server.setCallbacks({ onRaw }, { concurrency: 1 })
  const taken = { code: 'WSE_CONSUMER_TAKEN' }
  await t.throwsAsync(server.drain().next(), taken)
  await t.throwsAsync(server.events().next(), taken)
  await t.throwsAsync(server.drainInbound(), taken)
  const connection = await connect(t, server)
  const padding = 'x'.repeat(500)
  for (let n = 0; n < 50; n++) connection.send(`${n} ${padding}`)
  // Long enough for the engine to read them all, if it did not know that somebody takes them.
  const other = await connect(t, server)
  for (let n = 0; n < 10; n++) await other.roundTrip()
  setFree()
  for (let n = 0; n < 50; n++) t.is(await texts.next('a text'), `${n} ${padding}`)
  t.is(server.inboundDroppedCount(), 0)

  server.setCallbacks(null)
  const pending = server.drainInbound(256, 60_000)
  t.throws(() => server.setCallbacks({}), taken)
  connection.send('x')
  await within(pending, 'the pending batch')
  t.notThrows(() => server.setCallbacks({}))
  server.setCallbacks(null)
  new Application(server)
  t.throws(() => server.setCallbacks({}), taken)
  t.notThrows(() => server.setCallbacks(null))
})

test('lets the host work while callbacks are busy', async (t) => {
  const server = await startServer(t, { rateLimit: false })
  const [isOver, setOver] = gate()
  let seen = 0
  server.setCallbacks({
    onRaw: ({ text }) => {
      seen += 1
      if (seen === FLOOD) setOver()
      // Every other one by a promise that is settled already.
      return seen % 2 ? Promise.resolve(text) : undefined
    },
  })
  t.true((await turnsDuringFlood(t, server, isOver)) > 0)
})

for (const [callbacks, options, code] of [
  [{ onmessage: () => {} }, {}, 'WSE_OPTION_UNKNOWN'],
  [{ onMessage: 'log' }, {}, 'WSE_OPTION_INVALID'],
  [undefined, {}, 'WSE_OPTION_INVALID'],
  ['onMessage', {}, 'WSE_OPTION_INVALID'],
  [{}, { inOrder: 1 }, 'WSE_OPTION_INVALID'],
  [{}, { concurrency: 0 }, 'WSE_OPTION_INVALID'],
  [{}, { concurrency: Number.POSITIVE_INFINITY }, 'WSE_OPTION_INVALID'],
] as const) {
  test(`refuses the callbacks ${JSON.stringify(callbacks)} with ${JSON.stringify(options)}: ${code}`, async (t) => {
    const server = await startServer(t)
    t.throws(() => server.setCallbacks(callbacks as never, options as never), { code })
    // What is refused leaves the events free.
    t.deepEqual(await server.drainInbound(1, 0), [])
  })
}
