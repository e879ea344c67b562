// Verifies that a host which answers or ends a socket of ours in its own upgrade handler harms that socket alone.

import { once } from 'node:events'
import type { Server } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import test, { type ExecutionContext } from 'ava'
import { type Identity, type ServerOptions, WseServer } from 'wse-server'
import { gate, within } from './harness/arrivals.js'
import { connect } from './harness/connect.js'
import { Application } from './harness/server.js'
import { openSocket, upgradeRequest } from './harness/socket.js'

type Interference = (socket: Duplex) => void

const DENIAL = 'HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n'

const interferences: [title: string, interfere: Interference][] = [
  ['destroys', (socket) => socket.destroy()],
  ['ends', (socket) => socket.end()],
  ['denies and ends', (socket) => socket.end(DENIAL)],
  [
    'denies and destroys',
    (socket) => {
      socket.write(DENIAL)
      socket.destroy()
    },
  ],
]

for (const via of ['auto', 'stream'] as const) {
  for (const [title, interfere] of interferences.filter(([title]) => title.endsWith('destroys'))) {
    test(`leaves alone what a host ${title} before it, ${via}`, async (t) => {
      const { wse, port } = await start(t, via, (http) =>
        http.on('upgrade', (request, socket) => request.headers.victim && interfere(socket)),
      )
      const application = new Application(wse)
      const healthy = await connect(t, { port })
      const victim = await openSocket(t, { port })
      victim.write(upgradeRequest({ headers: { victim: '1' } }))
      if (title.startsWith('denies')) t.is((await victim.head()).status, 403)
      else await t.throwsAsync(victim.head(), { message: /ended before/ })
      await victim.ended()
      t.is(victim.rest.length, 0)
      await healthy.roundTrip()
      await wse.close()
      await application.next('disconnect')
      t.deepEqual(
        application.waiting.map(({ type }) => type),
        ['connect'],
      )
    })
  }

  for (const [title, interfere] of interferences) {
    test(`lives through a host that ${title} after it, ${via}`, async (t) => {
      const { http, port } = await start(t, via)
      http.on('upgrade', (request, socket) => request.headers.victim && interfere(socket))
      const healthy = await connect(t, { port })
      const victim = await openSocket(t, { port })
      victim.write(upgradeRequest({ headers: { victim: '1' } }))
      await healthy.roundTrip()
      if (via === 'auto') {
        // The engine had the socket already.
        t.is((await victim.head()).status, 101)
      } else {
        await victim.ended()
      }
      await (await connect(t, { port })).roundTrip()
    })

    test(`forgets what a host ${title} while the application is asked, ${via}`, async (t) => {
      const [isAsked, ask] = gate()
      const [isDecided, decide] = gate()
      const authenticate = async (): Promise<Identity> => {
        ask()
        await isDecided
        return { userId: 'anna', claims: {} }
      }
      const sockets: Duplex[] = []
      const { wse, port } = await start(t, via, (http) => http.on('upgrade', (_, socket) => sockets.push(socket)), {
        authenticate,
      })
      const victim = await openSocket(t, { port })
      victim.write(upgradeRequest())
      await within(isAsked, 'the authenticate hook')
      interfere(sockets[0] as Duplex)
      await victim.ended()
      decide()
      await (await connect(t, { port })).roundTrip()
      t.is(wse.getConnectionCount(), 1)
    })
  }
}

async function start(
  t: ExecutionContext,
  via: 'auto' | 'stream',
  prepare: (http: Server) => void = () => {},
  options: ServerOptions = {},
): Promise<{ http: Server; wse: WseServer; port: number }> {
  const http = createServer()
  prepare(http)
  const wse = new WseServer(options)
  wse.attach(http, { via })
  t.teardown(async () => {
    await wse.close()
    http.close()
    http.closeAllConnections()
  })
  http.listen(0, '127.0.0.1')
  await within(once(http, 'listening'), 'the host to listen')
  return { http, wse, port: (http.address() as AddressInfo).port }
}
