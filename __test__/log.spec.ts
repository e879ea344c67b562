import { Writable } from 'node:stream'
import test, { type ExecutionContext } from 'ava'
import pino from 'pino'
import type { JsonObject, Logger } from 'wse-server'
import { Log } from '../lib/log.js'
import { Arrivals, gate } from './harness/arrivals.js'
import { connect, refused } from './harness/connect.js'
import { startServer, warned } from './harness/server.js'
import { openSocket } from './harness/socket.js'
import { secret, tokenOf } from './harness/tokens.js'

interface Said {
  level: string
  event: string
  fields: JsonObject
}

/** A logger that remembers. */
class Memory implements Logger {
  readonly lines = new Arrivals<Said>()
  readonly debug = this.#saying('debug')
  readonly info = this.#saying('info')
  readonly warn = this.#saying('warn')
  readonly error = this.#saying('error')

  next(event: string, matches: (fields: JsonObject) => boolean = () => true): Promise<Said> {
    return this.lines.next(event, (said) => said.event === event && matches(said.fields))
  }

  /** How often something was said to have happened. */
  times(event: string, matches: (fields: JsonObject) => boolean): number {
    const said = this.lines.waiting.filter((line) => line.event === event && matches(line.fields))
    return said.reduce((times, { fields }) => times + (fields.repeated ?? 1), 0)
  }

  #saying(level: string) {
    return (fields: JsonObject, event: string) => this.lines.push({ level, event, fields })
  }
}

/** A clock that is turned by hand. */
function clock() {
  const due: { at: number; work: () => void }[] = []
  let now = 0
  return {
    after: (ms: number, work: () => void) => void due.push({ at: now + ms, work }),
    turn: (ms: number) => {
      now += ms
      for (;;) {
        const index = due.findIndex(({ at }) => at <= now)
        if (index < 0) return
        due.splice(index, 1)[0]?.work()
      }
    },
  }
}

const full = ['warn', 'wse.overload', { reason: 'connections' }] as const

test('says a line that repeats at once, and then what was counted once a second', (t) => {
  const logger = new Memory()
  const { after, turn } = clock()
  const log = new Log(logger, 'info', after)
  for (let n = 0; n < 10_000; n++) log.say(full)
  t.deepEqual(
    logger.lines.waiting.map(({ fields }) => fields),
    [{ reason: 'connections' }],
  )
  turn(999)
  t.is(logger.lines.waiting.length, 1)
  turn(1)
  t.deepEqual(logger.lines.waiting[1]?.fields, { reason: 'connections', repeated: 9_999 })
  // Counted on for as long as it goes on, and said at once when it comes back after a rest.
  log.say(full)
  t.is(logger.lines.waiting.length, 2)
  turn(1_000)
  t.deepEqual(logger.lines.waiting[2]?.fields, { reason: 'connections' })
  turn(5_000)
  log.say(full)
  t.is(logger.lines.waiting.length, 4)
})

test('counts each fault apart, and no connection', (t) => {
  const logger = new Memory()
  const log = new Log(logger, 'debug', clock().after)
  for (let n = 0; n < 3; n++) {
    log.say(full)
    log.say(['warn', 'wse.overload', { reason: 'memory' }])
    log.say(['debug', 'wse.error', { code: 'HANDSHAKE_REFUSED', status: 404 }])
    log.say(['debug', 'wse.error', { code: 'HANDSHAKE_REFUSED', status: 403 }])
    log.say(['info', 'wse.connection.established', { conn_id: String(n) }])
  }
  t.is(logger.lines.waiting.length, 7)
  log.close()
  t.is(logger.lines.waiting.length, 11)
  t.is(
    logger.times('wse.error', () => true),
    6,
  )
})

test('warns of faults of the application once a second without a logger', async (t) => {
  const { after, turn } = clock()
  const log = new Log(undefined, 'info', after)
  const warnings = new Arrivals<Error>()
  const onWarning = (warning: Error) => {
    if (warning.name === 'WseSampleWarning') warnings.push(warning)
  }
  process.on('warning', onWarning)
  t.teardown(() => process.off('warning', onWarning))
  for (let n = 0; n < 10_000; n++) log.fault('WseSampleWarning', 'it failed', { code: 'SAMPLE', err: new Error('x') })
  turn(1_000)
  t.is((await warnings.next('the first warning')).message, 'it failed')
  t.is((await warnings.next('the second warning')).message, 'it failed (9999 times)')
  t.deepEqual(warnings.waiting, [])
})

test('tells of the beginning and end of connections although nobody drains', async (t) => {
  const logger = new Memory()
  const server = await startServer(t, { jwt: { secret }, logger })
  const connection = await connect(t, server, { token: await tokenOf('anna') })
  const who = { conn_id: connection.id, user_id: 'anna', address: '127.0.0.1' }
  t.deepEqual(await logger.next('wse.connection.established'), {
    level: 'info',
    event: 'wse.connection.established',
    fields: who,
  })
  await connection.close()
  const { level, fields } = await logger.next('wse.connection.closed')
  const { duration_s, ...rest } = fields
  t.is(level, 'info')
  t.deepEqual(rest, { ...who, code: 1000 })
  t.true(duration_s >= 0)
})

test('names the address that a trusted proxy saw, also of a client that is refused', async (t) => {
  const logger = new Memory()
  const server = await startServer(t, { jwt: { secret }, trustProxy: true, logger, logLevel: 'debug' })
  const headers = { 'x-forwarded-for': '203.0.113.7' }
  const connection = await connect(t, server, { headers, greeted: false, token: 'nonsense' })
  await connection.closed()
  t.like(await logger.next('wse.error'), {
    level: 'debug',
    fields: { code: 'AUTH_FAILED', address: '203.0.113.7' },
  })
})

test('counts every refusal and says few of them', async (t) => {
  const logger = new Memory()
  const server = await startServer(t, { logger, logLevel: 'debug' })
  const isRefusal = ({ code, status }: JsonObject) => code === 'HANDSHAKE_REFUSED' && status === 404
  for (let n = 0; n < 20; n++) {
    await Promise.all(Array.from({ length: 10 }, () => refused(t, server, { path: '/elsewhere' })))
  }
  await server.close()
  t.is(logger.times('wse.error', isRefusal), 200)
  t.true(logger.lines.waiting.length < 100)
})

test('says nothing of the mistakes of clients unless it is asked to', async (t) => {
  const logger = new Memory()
  const server = await startServer(t, { logger })
  await refused(t, server, { path: '/elsewhere' })
  const connection = await connect(t, server)
  connection.send({ t: 'subscription_update', p: { action: 'nonsense' } })
  await connection.next('error')
  await server.close()
  t.deepEqual(
    logger.lines.waiting.map(({ event }) => event),
    ['wse.connection.established', 'wse.connection.closed'],
  )
})

test('tells of a client that breaks the protocol, with its connection', async (t) => {
  const logger = new Memory()
  const server = await startServer(t, { logger, logLevel: 'debug', maxMessageBytes: 100 })
  const connection = await connect(t, server)
  connection.send('x'.repeat(200))
  await connection.closed()
  t.like(await logger.next('wse.error'), { fields: { code: 'MESSAGE_TOO_LARGE', conn_id: connection.id } })
  t.like(await logger.next('wse.connection.closed'), { fields: { code: 1009 } })
})

test('tells of an overload: connections, memory, and what nobody takes', async (t) => {
  const logger = new Memory()
  const inbound = { maxBytes: 4_096, maxBytesPerConnection: 1_024 }
  const server = await startServer(t, { logger, maxConnections: 1, memoryBudgetBytes: 64 << 10, inbound })
  const connection = await connect(t, server)
  t.is((await refused(t, server)).status, 503)
  t.like(await overload(logger, 'connections'), { level: 'warn', fields: { address: '127.0.0.1' } })
  for (let n = 0; n < 2; n++) server.broadcastAll('x'.repeat(40_000))
  t.is((await overload(logger, 'memory')).level, 'warn')
  for (let n = 0; n < 50; n++) connection.send('x'.repeat(500))
  t.like(await overload(logger, 'unheard'), { level: 'warn', fields: { conn_id: connection.id } })
})

for (const [bound, maxBytesPerConnection] of [
  ['no bound of its own', 0],
  ['a bound as large as that for all', 64 << 10],
] as const) {
  test(`tells of an application that is behind, with a connection that has ${bound}`, async (t) => {
    const logger = new Memory()
    const inbound = { maxBytes: 64 << 10, maxBytesPerConnection }
    const server = await startServer(t, { logger, rateLimit: false, inbound })
    const [isFree, setFree] = gate()
    server.setCallbacks({ onRaw: () => isFree }, { concurrency: 1 })
    const connection = await connect(t, server)
    for (let n = 0; n < 200; n++) connection.send('x'.repeat(1_000))
    t.like(await overload(logger, 'inbound'), { level: 'warn', fields: { conn_id: connection.id } })
    setFree()
  })
}

test('says nothing of a client that floods an application which is slow for it alone', async (t) => {
  const logger = new Memory()
  const server = await startServer(t, { logger, rateLimit: false, inbound: { maxBytesPerConnection: 64 << 10 } })
  const [isFree, setFree] = gate()
  server.setCallbacks({ onRaw: () => isFree }, { concurrency: 1 })
  const [flooder, other] = [await connect(t, server), await connect(t, server)]
  for (let n = 0; n < 20_000; n++) flooder.send('x'.repeat(1_000))
  for (let n = 0; n < 100; n++) await other.roundTrip()
  t.true(flooder.socket.bufferedAmount > 0)
  setFree()
  await server.close()
  t.is(
    logger.times('wse.overload', () => true),
    0,
  )
})

test('tells of handshakes that give way to newer ones', async (t) => {
  const logger = new Memory()
  const server = await startServer(t, { logger, maxHandshakes: 1 })
  await openSocket(t, server)
  await openSocket(t, server)
  t.like(await overload(logger, 'handshakes'), { level: 'warn', fields: { address: '127.0.0.1' } })
})

test('tells of a slow reader at debug', async (t) => {
  const logger = new Memory()
  const server = await startServer(t, { logger, logLevel: 'debug', outbound: { maxMessages: 10 } })
  const connection = await connect(t, server)
  connection.socket.pause()
  for (let n = 0; n < 100; n++) server.broadcastAll('x'.repeat(200_000))
  t.like(await overload(logger, 'outbound'), { level: 'debug', fields: { conn_id: connection.id } })
})

test('says by the log what it else warns of', async (t) => {
  const logger = new Memory()
  const never: string[] = []
  const onWarning = ({ name }: Error) => never.push(name)
  process.on('warning', onWarning)
  t.teardown(() => process.off('warning', onWarning))
  const server = await startServer(t, {
    logger,
    inbound: { maxBytes: 4_096, maxBytesPerConnection: 1_024 },
    authenticate: ({ url }) => {
      if (url.endsWith('?fail')) throw new Error('no luck')
      return { userId: 'anna' }
    },
  })
  const failing = await connect(t, server, { path: '/wse?fail', greeted: false })
  await failing.closed()
  const { level, fields } = await logger.next('wse.error')
  t.is(level, 'error')
  t.like(fields, { code: 'HANDLER_ERROR', callback: 'authenticate' })
  t.is((fields.err as Error).message, 'no luck')
  const connection = await connect(t, server)
  for (let n = 0; n < 50; n++) connection.send('x'.repeat(500))
  await connection.roundTrip()
  const dropped = server.inboundDroppedCount()
  await server.close()
  t.is(
    logger.times('wse.overload', ({ reason }) => reason === 'unheard'),
    dropped,
  )
  // Warnings are emitted in the next turn of the event loop.
  await new Promise((resolve) => setImmediate(resolve))
  t.false(never.some((name) => name === 'WseInboundWarning' || name === 'WseAuthenticateWarning'))
})

for (const [title, fail] of [
  ['throws', () => fault()],
  ['rejects', async () => fault()],
] as const) {
  test(`serves on with a logger that ${title}, and warns of it`, async (t) => {
    const warning = warned(t, 'WseLoggerWarning')
    const server = await startServer(t, { logger: { debug: fail, info: fail, warn: fail, error: fail } })
    const connection = await connect(t, server)
    await connection.roundTrip()
    await connection.close()
    const { message, detail } = await warning
    t.is(message, 'the logger failed')
    t.regex(detail ?? '', /no disk/)
  })
}

test('writes through pino', async (t) => {
  const { logger, lines } = piped()
  const server = await startServer(t, { logger, logLevel: 'debug' })
  server.setCallbacks({
    onRaw: () => {
      throw new Error('no luck')
    },
  })
  const connection = await connect(t, server)
  connection.send('text')
  const line = (msg: string) => lines.next(msg, (line) => line.msg === msg)
  t.like(await line('wse.connection.established'), { level: 30, conn_id: connection.id })
  t.like(await line('wse.error'), {
    level: 50,
    code: 'HANDLER_ERROR',
    callback: 'onRaw',
    err: { type: 'Error', message: 'no luck' },
  })
  await server.close()
  t.like(await line('wse.connection.closed'), { level: 30, code: 1012 })
})

test('is silent when it is told to be', async (t) => {
  const logger = new Memory()
  const server = await startServer(t, { logger, logLevel: 'silent' })
  await (await connect(t, server)).close()
  await server.close()
  t.deepEqual(logger.lines.waiting, [])
})

test('says everything before it is closed', async (t: ExecutionContext) => {
  const logger = new Memory()
  const server = await startServer(t, { logger })
  const count = 20
  for (let n = 0; n < count; n++) await connect(t, server)
  await server.close()
  const events = logger.lines.waiting.map(({ event }) => event)
  t.is(events.filter((event) => event === 'wse.connection.established').length, count)
  t.is(events.filter((event) => event === 'wse.connection.closed').length, count)
})

const overload = (logger: Memory, reason: string) => logger.next('wse.overload', (fields) => fields.reason === reason)

function fault(): never {
  throw new Error('no disk')
}

/** A logger of pino, and what it writes. */
function piped() {
  const lines = new Arrivals<JsonObject>()
  const destination = new Writable({
    write: (chunk: Buffer, _, done) => {
      for (const line of chunk.toString().trim().split('\n')) lines.push(JSON.parse(line) as JsonObject)
      done()
    },
  })
  return { logger: pino({ level: 'debug' }, destination), lines }
}
