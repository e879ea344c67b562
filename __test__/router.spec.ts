import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import test from 'ava'
import express from 'express'
import fastify from 'fastify'
import { Hono } from 'hono'
import Koa from 'koa'
import { WebSocketServer } from 'ws'
import { WseServer } from 'wse-server'
import { gate, until, within } from './harness/arrivals.js'
import { connect, refused } from './harness/connect.js'
import { get, serveOn, startHost } from './harness/host.js'
import { Application } from './harness/server.js'
import { frameBytes, OP, openSocket, upgradeRequest } from './harness/socket.js'

test('shares the port of an Express service, whose routes stay its own', async (t) => {
  const app = express()
  app.get('/orders', (_, response) => void response.json([1, 2]))
  app.get('/wse/reports', (_, response) => void response.send('reports'))
  const host = await startHost(t, {}, app)
  const application = new Application(host.wse)

  const connection = await connect(t, host)
  connection.send({ t: 'chat', p: { n: 1 } })
  t.like((await application.next('msg')).data, { t: 'chat' })
  host.wse.send(connection.id, JSON.stringify({ t: 'reply', p: {} }))
  await connection.next('reply')

  t.deepEqual(await get(host, '/orders'), { status: 200, body: '[1,2]' })
  t.deepEqual(await get(host, '/wse/reports'), { status: 200, body: 'reports' })
  t.is((await get(host, '/nowhere')).status, 404)
  t.is((await get(host, '/wse')).status, 404)
  await connection.roundTrip()
})

test('answers health and ready itself, once, and the host never sees them', async (t) => {
  const seen: string[] = []
  const host = await startHost(t, {}, (request, response) => {
    seen.push(request.url ?? '')
    response.end('host')
  })
  const health = await get(host, '/wse/health')
  t.is(health.status, 200)
  t.is(typeof JSON.parse(health.body), 'object')
  t.is((await get(host, '/wse/ready')).status, 200)
  t.is((await get(host, '/wse/health?probe=1')).status, 200)
  t.is((await get(host, '/wse/healthy')).body, 'host')
  t.deepEqual(seen, ['/wse/healthy'])
})

test('answers health and ready to listeners that were added later', async (t) => {
  const host = await startHost(t)
  let calls = 0
  host.http.on('request', () => {
    calls += 1
  })
  t.is((await get(host, '/wse/health')).status, 200)
  t.is(calls, 0)
  await get(host, '/other')
  t.is(calls, 1)
})

test('upgrades a kept-alive socket that has served requests before', async (t) => {
  const host = await startHost(t, {}, (_, response) => response.end('ok'))
  const socket = await openSocket(t, host)
  socket.write('GET /page HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n')
  t.is((await socket.head()).status, 200)
  const application = new Application(host.wse)
  socket.write(Buffer.concat([Buffer.from(upgradeRequest()), frameBytes(OP.text, 'after the page')]))
  t.is((await application.next('raw')).text, 'after the page')
})

test('upgrades a socket on which an earlier answer is still leaving', async (t) => {
  const body = 'x'.repeat(8 << 20)
  const host = await startHost(t, {}, (_, response) => response.end(body))
  const application = new Application(host.wse)
  const socket = await openSocket(t, host)
  socket.tcp.pause()
  socket.write(
    Buffer.concat([
      Buffer.from('GET /page HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n'),
      Buffer.from(upgradeRequest()),
      frameBytes(OP.text, 'after the page'),
    ]),
  )
  await new Promise((resolve) => setImmediate(resolve))
  socket.tcp.resume()
  t.is((await application.next('raw')).text, 'after the page')
})

test('lets two engines share a host by path, and one outlive the other', async (t) => {
  const host = await startHost(t, { path: '/first' }, (_, response) => response.end('host'))
  const second = new WseServer({ path: '/second' })
  t.teardown(() => second.close())
  second.attach(host.http)
  await (await connect(t, host, { path: '/first' })).roundTrip()
  const connection = await connect(t, host, { path: '/second' })
  await host.wse.close()
  await connection.roundTrip()
  t.is((await get(host, '/first/health')).body, 'host')
  t.is((await get(host, '/second/health')).status, 200)
  t.is((await refused(t, host, { path: '/third' })).status, 404)
  await second.close()
  t.is((await get(host, '/first/health')).body, 'host')
  t.is((await get(host, '/second/health')).body, 'host')
})

test('refuses a path that another engine has taken', async (t) => {
  const host = await startHost(t)
  const second = new WseServer()
  t.teardown(() => second.close())
  t.throws(() => second.attach(host.http), { code: 'WSE_PATH_TAKEN' })
})

for (const [name, application] of [
  ['an application of Express', express()],
  ['an application of Koa', new Koa()],
  ['an application of Fastify', fastify()],
  ['an application of Hono', new Hono()],
  ['nothing', undefined],
  ['a port', 8000],
] as const) {
  test(`says what it wants instead of ${name}`, (t) => {
    const wse = new WseServer()
    t.teardown(() => wse.close())
    const error = t.throws(() => wse.attach(application as never), { code: 'WSE_ATTACH_UNSUPPORTED' })
    t.regex(error?.message ?? '', /createServer/)
    t.false(wse.isRunning())
  })
}

test('attaches once, never again after close, and leaves the host as it was', async (t) => {
  const host = await startHost(t, {}, (_, response) => response.end('host'))
  t.throws(() => host.wse.attach(createServer()), { code: 'WSE_SERVER_STARTED' })
  await (await connect(t, host)).roundTrip()
  await host.wse.close()
  t.throws(() => host.wse.attach(host.http), { code: 'WSE_SERVER_CLOSED' })
  t.is(host.http.listenerCount('upgrade'), 0)
  t.is((await get(host, '/wse/health')).body, 'host')
})

test('refuses a path for sockets that it does not know', (t) => {
  const wse = new WseServer()
  t.teardown(() => wse.close())
  t.throws(() => wse.attach(createServer(), { via: 'pigeon' as never }), { code: 'WSE_OPTION_INVALID' })
})

for (const [order, isFirst] of [
  ['before', true],
  ['after', false],
] as const) {
  test(`leaves other paths to an upgrade handler that was added ${order} it`, async (t) => {
    const other = new WebSocketServer({ noServer: true })
    other.on('connection', (socket) => socket.send('other'))
    const handle = (http: import('node:http').Server) =>
      http.on('upgrade', (request, socket, head) => {
        if (request.url === '/other') other.handleUpgrade(request, socket, head, (ws) => other.emit('connection', ws))
      })
    const host = await startHost(t, {}, undefined, isFirst ? handle : undefined)
    if (!isFirst) handle(host.http)
    const connection = await connect(t, host, { path: '/other', greeted: false })
    t.is(await connection.nextText(), 'other')
    await (await connect(t, host)).roundTrip()
  })
}

test('answers an upgrade of another path with 404 when nobody else wants it', async (t) => {
  const host = await startHost(t)
  const healthy = await connect(t, host)
  t.is((await refused(t, host, { path: '/other' })).status, 404)
  const socket = await openSocket(t, host)
  socket.write(upgradeRequest({ path: '/other' }))
  await socket.ended()
  await healthy.roundTrip()
})

test('lets the host close at once while its connections live on', async (t) => {
  const host = await startHost(t)
  const connection = await connect(t, host)
  await within(new Promise((resolve) => host.http.close(resolve)), 'the host to close')
  await connection.roundTrip()
  await host.wse.close()
  t.is((await connection.closed()).code, 1012)
})

test('gives the upgrades back to the host when it closes', async (t) => {
  const host = await startHost(t, {}, (_, response) => response.end('host'))
  const connection = await connect(t, host)
  await host.wse.close()
  t.is((await connection.closed()).code, 1012)
  t.is((await get(host, '/wse/health')).body, 'host')
  t.is(host.http.listenerCount('upgrade'), 0)
})

test('outlives the timeouts of the host', async (t) => {
  const host = await startHost(t, {}, undefined, (http) => http.setTimeout(100))
  const connection = await connect(t, host)
  const timedOut = await openSocket(t, host)
  await timedOut.ended()
  await connection.roundTrip()
})

test('upgrades a socket whose earlier answer has a small rest to write', async (t) => {
  const host = await startHost(t)
  const { emit } = host.http
  host.http.emit = ((event: string, ...args: unknown[]) => {
    if (event === 'upgrade') {
      // What a write that waits for the kernel looks like: it is done later, and no `drain` follows.
      const socket = args[1] as Socket
      const write = socket._write
      socket._write = (chunk, encoding, done) => setImmediate(() => write.call(socket, chunk, encoding, done))
      socket.write('')
      socket.write('HTTP/1.1 100 Continue\r\n\r\n')
      socket._write = write
    }
    return Reflect.apply(emit, host.http, [event, ...args])
  }) as typeof emit
  const application = new Application(host.wse)
  const socket = await openSocket(t, host)
  socket.write(Buffer.concat([Buffer.from(upgradeRequest()), frameBytes(OP.text, 'after the rest')]))
  t.is((await application.next('raw')).text, 'after the rest')
})

test('takes its upgrades also where the host has bound how it emits before', async (t) => {
  const http = createServer()
  // As Fastify does for the second address that it listens on.
  const second = createServer().on('upgrade', http.emit.bind(http, 'upgrade'))
  t.teardown(() => second.close())
  const host = await serveOn(t, http)
  second.listen(0, '127.0.0.1')
  await within(once(second, 'listening'), 'the second server to listen')
  await (await connect(t, second.address() as AddressInfo)).roundTrip()
  await (await connect(t, host)).roundTrip()
})

test('refuses who waits for a hook that never answers when it closes, and keeps no process alive', async (t) => {
  let isAsked: () => void = () => {}
  const asked = new Promise<void>((resolve) => {
    isAsked = resolve
  })
  const host = await startHost(t, {
    handshakeTimeoutMs: 0,
    authenticate: () => {
      isAsked()
      return new Promise(() => {})
    },
  })
  const socket = await openSocket(t, host)
  socket.write(upgradeRequest())
  await within(asked, 'the authenticate hook')
  await host.wse.close()
  t.is((await socket.head()).status, 503)
  await socket.ended()
})

test('lets so many wait for a hook and no more: the oldest gives way', async (t) => {
  const [isFree, free] = gate()
  const asked: string[] = []
  const lines: unknown[] = []
  const host = await startHost(t, {
    maxHandshakes: 2,
    authenticate: async ({ url }) => {
      asked.push(url)
      await isFree
      return { userId: 'anna' }
    },
    logger: { ...console, info: () => {}, warn: (fields, event) => lines.push([event, fields.reason]) },
  })
  const sockets = []
  for (const name of ['first', 'second', 'third']) {
    const socket = await openSocket(t, host)
    socket.write(upgradeRequest({ path: `/wse?${name}` }))
    await until(`the question about the ${name}`, () => asked.includes(`/wse?${name}`))
    sockets.push(socket)
  }
  t.is((await sockets[0]?.head())?.status, 503)
  free()
  for (const socket of sockets.slice(1)) t.is((await socket.head()).status, 101)
  t.deepEqual(lines, [['wse.overload', 'handshakes']])
})

test('leaves the emit of a host to whoever wrapped it meanwhile, and serves again', async (t) => {
  const host = await startHost(t, {}, (_, response) => response.end('host'))
  const { emit } = host.http
  const seen: string[] = []
  const wrapper = ((event: string, ...args: unknown[]) => {
    seen.push(event)
    return Reflect.apply(emit, host.http, [event, ...args])
  }) as typeof emit
  host.http.emit = wrapper
  await host.wse.close()
  t.is(host.http.emit, wrapper)
  t.is((await get(host, '/wse/health')).body, 'host')
  t.true(seen.includes('request'))
  const second = new WseServer()
  t.teardown(() => second.close())
  second.attach(host.http)
  t.is((await get(host, '/wse/health')).status, 200)
  await (await connect(t, host)).roundTrip()
})

test('serves the root with its health at /health', async (t) => {
  const host = await startHost(t, { path: '/' }, (_, response) => response.end('host'))
  await (await connect(t, host, { path: '/' })).roundTrip()
  t.not((await get(host, '/health')).body, 'host')
  t.is((await get(host, '/other')).body, 'host')
})

test('lives through clients that ask for a path of nobody and reset', async (t) => {
  const host = await startHost(t)
  for (let n = 0; n < 100; n++) {
    const socket = await openSocket(t, host)
    const closed = once(socket.tcp, 'close')
    socket.write(upgradeRequest({ path: '/other' }))
    socket.tcp.resetAndDestroy()
    await within(closed, 'the reset')
  }
  await (await connect(t, host)).roundTrip()
})
