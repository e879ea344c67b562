// Keys that somebody else publishes: at a URL that is slow, dead or lies, and in a file.
import { once } from 'node:events'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, get, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { type JsonObject, type ServerOptions, WseServer } from 'wse-server'
import type { WseError } from '../lib/errors.js'
import { type After, KeySource, type Origin, urlOrigin } from '../lib/jwks.js'
import { Arrivals, gate, until, within } from './harness/arrivals.js'
import { connect, refused } from './harness/connect.js'
import { startServer, warned } from './harness/server.js'
import { keySet, Signer } from './harness/tokens.js'

const first = new Signer('ES256', 'first')
const second = new Signer('ES256', 'second')

/** A publisher of keys on this machine, and how often it was asked. */
class Publisher {
  requests = 0
  answer: RequestListener
  url = ''

  constructor(answer: RequestListener) {
    this.answer = answer
  }

  /** Publishes these keys from now on. */
  publish(...signers: Signer[]): void {
    this.answer = (_, response) => void response.end(keySet(...signers))
  }

  async listen(t: ExecutionContext): Promise<this> {
    const http = createServer((request, response) => {
      this.requests += 1
      this.answer(request, response)
    })
    http.listen(0, '127.0.0.1')
    await within(once(http, 'listening'), 'the publisher')
    t.teardown(() => {
      http.closeAllConnections()
      http.close()
    })
    this.url = `http://127.0.0.1:${(http.address() as AddressInfo).port}/keys`
    return this
  }
}

const publisherOf = (t: ExecutionContext, ...signers: Signer[]) =>
  new Publisher((_, response) => void response.end(keySet(...signers))).listen(t)

const jwtOf = (jwks: string): ServerOptions => ({ jwt: { jwks, algorithm: 'ES256' } })

/** A logger that keeps its errors. */
function listening(): { logger: NonNullable<ServerOptions['logger']>; errors: Arrivals<JsonObject> } {
  const errors = new Arrivals<JsonObject>()
  return { logger: { debug() {}, info() {}, warn() {}, error: (line) => errors.push(line) }, errors }
}

async function statusOf(port: number, path: string): Promise<number | undefined> {
  const [response] = await within(once(get({ host: '127.0.0.1', port, path }), 'response'), path)
  response.resume()
  return response.statusCode
}

async function isLetIn(t: ExecutionContext, server: { port: number }, token: string): Promise<boolean> {
  const connection = await connect(t, server, { token, greeted: false })
  const { t: type } = JSON.parse(await connection.nextText())
  return type === 'server_ready'
}

test('takes tokens of published keys as soon as it listens', async (t) => {
  const publisher = await publisherOf(t, first, second)
  const server = await startServer(t, jwtOf(publisher.url))
  for (const signer of [first, second]) {
    await (await connect(t, server, { token: await signer.tokenOf('anna') })).roundTrip()
  }
  t.false(await isLetIn(t, server, await new Signer('ES256', 'first').tokenOf('eve')))
  t.is(publisher.requests, 1)
})

test('asks for newer keys at an unknown one, lets its token wait for them, and loses no connection', async (t) => {
  const publisher = await publisherOf(t, first)
  const server = await startServer(t, jwtOf(publisher.url))
  const connection = await connect(t, server, { token: await first.tokenOf('anna') })
  const [isReleased, release] = gate()
  const [isAsked, ask] = gate()
  publisher.answer = async (_, response) => {
    ask()
    await isReleased
    response.end(keySet(second))
  }
  const isIn = isLetIn(t, server, await second.tokenOf('ben'))
  await within(isAsked, 'the request')
  await connection.roundTrip()
  release()
  t.true(await isIn)
  t.true(await isLetIn(t, server, await second.tokenOf('carl')))
  t.is(publisher.requests, 2)
  t.false(await isLetIn(t, server, await first.tokenOf('anna')), 'its key was taken out')
  await connection.roundTrip()
})

test('lets nobody make it ask again and again', async (t) => {
  const publisher = await publisherOf(t, first)
  const server = await startServer(t, jwtOf(publisher.url))
  const healthy = await connect(t, server, { token: await first.tokenOf('healthy') })
  const unknown = (number: number) => new Signer('ES256', `unknown-${number}`).tokenOf('eve')
  // Looked for, and known to be unknown.
  for (let number = 0; number < 3; number++) t.false(await isLetIn(t, server, await unknown(number)))
  // Not looked for, so nobody knows.
  for (let number = 3; number < 30; number++) {
    t.is((await refused(t, server, { token: await unknown(number) })).status, 503)
  }
  t.is(publisher.requests, 4)
  await healthy.roundTrip()
})

for (const [title, answer, reason] of [
  ['answers with an error', (_, response) => void response.writeHead(500).end(keySet(first)), /HTTP 500/],
  ['answers with garbage', (_, response) => void response.end('<html>'), /not a JSON Web Key Set/],
  ['has no key of use', (_, response) => void response.end(keySet(new Signer('RS256', 'rsa'))), /no key for ES256/],
  ['sends too much', (_, response) => flood(response), /over 262144 bytes/],
  ['hangs up', (request) => void request.socket.destroy(), /fetch failed/],
  ['sends elsewhere', (_, response) => void response.writeHead(302, { location: '/other' }).end(), /redirect/],
] as [string, RequestListener, RegExp][]) {
  test(`has no keys from a publisher that ${title}, says so, and takes those that come later`, async (t) => {
    const publisher = await new Publisher(answer).listen(t)
    const { logger, errors } = listening()
    const server = await startServer(t, { ...jwtOf(publisher.url), logger })
    const line = await errors.next('the fault')
    t.is(line.code, 'WSE_JWKS_FAILED')
    t.regex(line.message, reason)
    t.true(line.message.includes(publisher.url))

    // Not the fault of whoever connects: 4401 would send them away for good.
    const token = await first.tokenOf('anna')
    const { status, headers, body } = await refused(t, server, { token })
    t.is(status, 503)
    t.truthy(headers['retry-after'])
    t.regex(body, /no key yet/)
    t.is(await statusOf(server.port, '/wse/ready'), 503)
    t.is(await statusOf(server.port, '/wse/health'), 200)

    publisher.publish(first)
    await until('there are keys', async () => (await statusOf(server.port, '/wse/ready')) === 200)
    await (await connect(t, server, { token })).roundTrip()
  })

  test(`keeps its keys when their publisher ${title}`, async (t) => {
    const publisher = await publisherOf(t, first)
    const { logger, errors } = listening()
    const server = await startServer(t, { ...jwtOf(publisher.url), logger })
    publisher.answer = answer
    // It may be a good one: 4401 would send its client away for good.
    t.is((await refused(t, server, { token: await second.tokenOf('ben') })).status, 503)
    t.is((await errors.next('the fault')).code, 'WSE_JWKS_FAILED')
    t.true(await isLetIn(t, server, await first.tokenOf('anna')))
  })
}

/** Sends until the other side has enough. */
function flood(response: ServerResponse): void {
  const chunk = Buffer.alloc(1 << 16, ' ')
  const more = () => {
    while (!response.destroyed && response.write(chunk));
    if (!response.destroyed) response.once('drain', more)
  }
  response.on('error', () => {})
  more()
}

test('warns of a publisher that is not there, where nobody gave it a logger', async (t) => {
  const publisher = await new Publisher((request) => void request.socket.destroy()).listen(t)
  const warning = warned(t, 'WseJwksWarning')
  await startServer(t, jwtOf(publisher.url))
  t.true((await warning).message.includes(publisher.url))
})

test('tells nobody what stands behind the path of a URL', async (t) => {
  const publisher = await new Publisher((request) => void request.socket.destroy()).listen(t)
  const { logger, errors } = listening()
  await startServer(t, { ...jwtOf(`${publisher.url}?token=hunter2#there`), logger })
  const { message } = await errors.next('the fault')
  t.true(message.startsWith(`no keys from ${publisher.url}: `), message)
})

test('in router mode is not ready before there are keys, and healthy all the same', async (t) => {
  const [isAsked, ask] = gate()
  const [isReleased, release] = gate()
  const publisher = await new Publisher(async (_, response) => {
    ask()
    await isReleased
    response.end(keySet(first))
  }).listen(t)
  const http = createServer()
  const server = new WseServer(jwtOf(publisher.url))
  t.teardown(() => server.close())
  server.attach(http)
  http.listen(0, '127.0.0.1')
  await within(once(http, 'listening'), 'the host')
  t.teardown(() => http.close())
  const { port } = http.address() as AddressInfo
  await within(isAsked, 'the request')
  const token = await first.tokenOf('anna')
  t.is(await statusOf(port, '/wse/ready'), 503)
  t.is(await statusOf(port, '/wse/health'), 200)
  t.is((await refused(t, { port }, { token })).status, 503)
  release()
  await until('there are keys', async () => (await statusOf(port, '/wse/ready')) === 200)
  await (await connect(t, { port }, { token })).roundTrip()
})

test('closes while it waits for keys', async (t) => {
  const [isAsked, ask] = gate()
  const publisher = await new Publisher(() => ask()).listen(t)
  const server = new WseServer(jwtOf(publisher.url))
  const listening = server.listen({ host: '127.0.0.1', port: 0 })
  await within(isAsked, 'the request')
  await within(server.close(), 'the close')
  await t.throwsAsync(within(listening, 'the end of the wait'), { code: 'WSE_SERVER_CLOSED' })
})

test('reads keys from a file, and again when it changes', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'wse-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'keys.json')
  writeFileSync(file, keySet(first))
  const { logger, errors } = listening()
  const server = await startServer(t, { ...jwtOf(file), logger })
  const connection = await connect(t, server, { token: await first.tokenOf('anna') })

  writeFileSync(file, '{"keys":')
  t.is((await errors.next('the fault')).code, 'WSE_JWKS_FAILED')
  t.true(await isLetIn(t, server, await first.tokenOf('anna')), 'what it has stays in force')

  writeFileSync(join(folder, 'next.json'), keySet(second))
  renameSync(join(folder, 'next.json'), file)
  const token = await second.tokenOf('ben')
  await until('the new key is known', () => isLetIn(t, server, token))
  await connection.roundTrip()
})

test('takes a URL of a file, and a mark before its text', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'wse-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'keys.json'), `\ufeff${keySet(first)}`)
  const server = await startServer(t, jwtOf(`file://${folder}/keys.json`))
  t.true(await isLetIn(t, server, await first.tokenOf('anna')))
})

test('gives up on a publisher that takes too long', async (t) => {
  for (const answer of [
    (() => {}) as RequestListener,
    ((_, response) => void response.write('{"keys":')) as RequestListener,
  ]) {
    const { url } = await new Publisher(answer).listen(t)
    const load = urlOrigin(new URL(url), 50).load(new AbortController().signal)
    await t.throwsAsync(within(load, 'the end of the wait'), { any: true, name: 'TimeoutError' })
  }
})

// ---- when it looks, with a hand-held clock ----

/** A source that is looked at on a clock of its own. */
class Watched {
  loads = 0
  isBad = false
  /** Says that the place of the keys has changed. */
  change = () => {}
  /** What a look waits for. */
  isReady = Promise.resolve()
  readonly faults: WseError[] = []
  readonly used: string[] = []
  readonly #due: { at: number; work: () => void }[] = []
  #now = 0
  readonly source: KeySource

  constructor() {
    const origin: Origin = {
      name: 'here',
      initial: () => null,
      load: async () => {
        this.loads += 1
        if (this.isBad) throw new Error('not now')
        const jwks = String(this.loads)
        await this.isReady
        return jwks
      },
      watch: (onChange) => {
        this.change = onChange
        return () => {}
      },
    }
    const after: After = (ms, work) => {
      const entry = { at: this.#now + ms, work }
      this.#due.push(entry)
      return () => {
        const index = this.#due.indexOf(entry)
        if (index >= 0) this.#due.splice(index, 1)
      }
    }
    const use = (jwks: string) => void this.used.push(jwks)
    this.source = new KeySource(origin, use, (fault) => this.faults.push(fault), after)
  }

  /** Lets this time pass; what falls due happens in its order. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms
    for (;;) {
      const next = this.#due.filter(({ at }) => at <= end).sort((one, other) => one.at - other.at)[0]
      if (!next) break
      this.#now = next.at
      this.#due.splice(this.#due.indexOf(next), 1)
      next.work()
      await settled()
    }
    this.#now = end
  }
}

/** What promises have to do is done. */
const settled = () => new Promise<void>((resolve) => setImmediate(resolve))

test('looks again every ten minutes', async (t) => {
  const watched = new Watched()
  await watched.source.open()
  t.deepEqual(watched.used, ['1'])
  await watched.pass(599_999)
  t.is(watched.loads, 1)
  await watched.pass(1)
  t.deepEqual(watched.used, ['1', '2'])
  await watched.pass(600_000)
  t.is(watched.loads, 3)
})

test('tries again after one second, then two, up to a minute, until it has keys', async (t) => {
  const watched = new Watched()
  watched.isBad = true
  await watched.source.open()
  for (const [index, ms] of [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000].entries()) {
    t.is(watched.loads, index + 1)
    await watched.pass(ms - 1)
    t.is(watched.loads, index + 1)
    await watched.pass(1)
  }
  t.is(watched.faults.length, 9)
  watched.isBad = false
  await watched.pass(60_000)
  t.is(watched.used.length, 1)
  await watched.pass(599_999)
  t.is(watched.used.length, 1)
})

test('serves three wishes in thirty seconds, and says of more that it has not looked', async (t) => {
  const watched = new Watched()
  await watched.source.open()
  for (const loads of [2, 3, 4]) {
    t.true(await watched.source.wish())
    t.is(watched.loads, loads)
    await watched.pass(1_000)
  }
  for (let number = 0; number < 1_000; number++) t.false(await watched.source.wish())
  await watched.pass(26_999)
  t.false(await watched.source.wish())
  await watched.pass(1)
  t.true(await watched.source.wish())
  t.false(await watched.source.wish(), 'each comes back thirty seconds after it was used')
  watched.isBad = true
  await watched.pass(1_000)
  t.false(await watched.source.wish(), 'there was nothing to be had')
  t.is(watched.loads, 6)
})

test('serves wishes that come while it is looking with one look behind that', async (t) => {
  const watched = new Watched()
  const [isReady, answer] = gate()
  watched.isReady = isReady
  const isOpen = watched.source.open()
  const wishes = [watched.source.wish(), watched.source.wish()]
  await settled()
  t.is(watched.loads, 1)
  answer()
  await isOpen
  t.deepEqual(await Promise.all(wishes), [true, true])
  t.deepEqual(watched.used, ['1', '2'])
})

test('looks once more for what changes while it is looking', async (t) => {
  const watched = new Watched()
  const [isReady, answer] = gate()
  watched.isReady = isReady
  const isOpen = watched.source.open()
  for (let number = 0; number < 10; number++) watched.change()
  await settled()
  t.is(watched.loads, 1)
  answer()
  await isOpen
  await settled()
  t.deepEqual(watched.used, ['1', '2'])
  await watched.pass(599_999)
  t.is(watched.loads, 2, 'the next look counts from the last one')
})

test('looks no more after its end', async (t) => {
  const watched = new Watched()
  await watched.source.open()
  watched.source.wish()
  watched.source.wish()
  await settled()
  watched.source.close()
  watched.source.wish()
  await watched.pass(3_600_000)
  t.is(watched.loads, 2)
  t.deepEqual(watched.faults, [])
})
