// Verifies that the engine and other upgrade handlers share one HTTP server, whoever came first.
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAdaptorServer, upgradeWebSocket, type WebSocketServerLike } from '@hono/node-server'
import test, { type ExecutionContext } from 'ava'
import { Hono } from 'hono'
import { Server as SocketIoServer } from 'socket.io'
import { io } from 'socket.io-client'
import { createServer as createViteServer } from 'vite'
import { WebSocketServer } from 'ws'
import { WseServer } from 'wse-server'
import { within } from './harness/arrivals.js'
import { connect } from './harness/connect.js'
import { startHost } from './harness/host.js'
import { openSocket, upgradeRequest } from './harness/socket.js'

interface Neighbour {
  title: string
  attach: (t: ExecutionContext, http: Server) => void | Promise<void>
  /** Opens a connection to the neighbour; what it returns proves that the connection is served. */
  open: (t: ExecutionContext, host: { port: number }) => Promise<() => Promise<void>>
}

const neighbours: Neighbour[] = [
  {
    title: 'Socket.IO',
    attach(t, http) {
      const server = new SocketIoServer(http)
      server.on('connection', (socket) => socket.on('question', (text, answer) => answer(`${text}, answered`)))
      t.teardown(() => server.close())
    },
    async open(t, { port }) {
      const socket = io(`http://127.0.0.1:${port}`, { reconnection: false, forceNew: true })
      t.teardown(() => socket.close())
      // It begins with requests: both ways lead through the shared server.
      await within(new Promise((resolve) => socket.io.engine.once('upgrade', resolve)), 'the upgrade of Socket.IO')
      return async () => {
        t.is(await within(socket.emitWithAck('question', 'one'), 'an answer of Socket.IO'), 'one, answered')
      }
    },
  },
  {
    title: "Vite's hot reload",
    async attach(t, http) {
      const root = mkdtempSync(join(tmpdir(), 'wse-'))
      const vite = await createViteServer({
        root,
        configFile: false,
        logLevel: 'silent',
        optimizeDeps: { noDiscovery: true },
        server: { middlewareMode: true, hmr: { server: http }, watch: null },
      })
      http.on('request', vite.middlewares)
      vite.ws.on('question', (text, client) => client.send('answer', `${text}, answered`))
      t.teardown(async () => {
        await vite.close()
        rmSync(root, { recursive: true })
      })
    },
    async open(t, host) {
      const connection = await connect(t, host, { path: '/', protocols: ['vite-hmr'], greeted: false })
      t.deepEqual(JSON.parse(await connection.nextText()), { type: 'connected' })
      return async () => {
        connection.send({ type: 'custom', event: 'question', data: 'one' })
        t.like(JSON.parse(await connection.nextText()), { event: 'answer', data: 'one, answered' })
      }
    },
  },
  {
    title: 'ws',
    attach(t, http) {
      const server = new WebSocketServer({ noServer: true })
      server.on('connection', (socket) => socket.on('message', (data) => socket.send(`${data}, answered`)))
      http.on('upgrade', (request, socket, head) => {
        if (request.url === '/ws') server.handleUpgrade(request, socket, head, (ws) => server.emit('connection', ws))
      })
      t.teardown(() => server.close())
    },
    open: (t, host) => openWs(t, host),
  },
  // These two answer every upgrade of the server, those of other paths with 400.
  ...['/ws', undefined].map((path) => ({
    title: `ws on the whole server${path ? ', for one path' : ''}`,
    attach(t: ExecutionContext, server: Server) {
      const other = new WebSocketServer(path ? { server, path } : { server })
      other.on('connection', (socket) => socket.on('message', (data) => socket.send(`${data}, answered`)))
      t.teardown(() => other.close())
    },
    open: (t: ExecutionContext, host: { port: number }) => openWs(t, host),
  })),
]

for (const { title, attach, open } of neighbours) {
  for (const [order, isFirst] of [
    ['before', true],
    ['after', false],
  ] as const) {
    for (const via of ['auto', 'stream'] as const) {
      test(`shares a server with ${title}, which came ${order} it, ${via}`, async (t) => {
        const http = createServer()
        const wse = new WseServer()
        t.teardown(async () => {
          await wse.close()
          http.close()
          http.closeAllConnections()
        })
        if (isFirst) await attach(t, http)
        wse.attach(http, { via })
        if (!isFirst) await attach(t, http)
        const host = await listening(http)

        const connection = await connect(t, host)
        const prove = await open(t, host)
        await connection.roundTrip()
        await prove()
        await (await connect(t, host)).roundTrip()
        await wse.close()
        t.is((await connection.closed()).code, 1012)
        await prove()
        await (await open(t, host))()
      })
    }
  }
}

test('keeps its connections when Socket.IO ends the upgrades that it does not know', async (t) => {
  const host = await startHost(t, {}, undefined, (http) => {
    const server = new SocketIoServer(http, { destroyUpgradeTimeout: 50 })
    t.teardown(() => server.close())
  })
  const connection = await connect(t, host)
  const stranger = await openSocket(t, host)
  stranger.write(upgradeRequest({ path: '/strange' }))
  // The stranger came later: whoever was to be ended is ended by now.
  await stranger.ended()
  await connection.roundTrip()
})

test("shares a server with Hono's own WebSockets", async (t) => {
  const app = new Hono()
  const answers = {
    onMessage: (event: { data: unknown }, socket: { send(text: string): void }) =>
      socket.send(`${event.data}, answered`),
  }
  app.get(
    '/hono',
    upgradeWebSocket(() => answers),
  )
  // Its types want a little more than those of `ws` promise.
  const server = new WebSocketServer({ noServer: true }) as unknown as WebSocketServerLike
  const http = createAdaptorServer({ fetch: app.fetch, websocket: { server } }) as Server
  const wse = new WseServer()
  wse.attach(http)
  t.teardown(() => http.close())
  t.teardown(() => wse.close())
  const host = await listening(http)
  const connection = await connect(t, host)
  const other = await connect(t, host, { path: '/hono', greeted: false })
  other.send('one')
  t.is(await other.nextText(), 'one, answered')
  await connection.roundTrip()
})

async function listening(http: Server): Promise<{ port: number }> {
  http.listen(0, '127.0.0.1')
  await within(once(http, 'listening'), 'the host to listen')
  return http.address() as AddressInfo
}

async function openWs(t: ExecutionContext, host: { port: number }): Promise<() => Promise<void>> {
  const connection = await connect(t, host, { path: '/ws', greeted: false })
  return async () => {
    connection.send('one')
    t.is(await connection.nextText(), 'one, answered')
  }
}
