// Verifies that a host which answers or ends sockets in its own handlers spoils none of ours, or that one alone.

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
  for (const [title, interfere] of interferences) {
    test(`keeps its path from an upgrade handler that ${title} every socket, ${via}`, async (t) => {
      const { wse, port } = await start(t, via, (http) => http.on('upgrade', (_, socket) => interfere(socket)))
      const application = new Application(wse)
      await (await connect(t, { port })).close()
      const stranger = await openSocket(t, { port })
      stranger.write(upgradeRequest({ path: '/strange' }))
      if (title.startsWith('denies')) t.is((await stranger.head()).status, 403)
      await stranger.ended()
      await (await connect(t, { port })).close()
      for (let n = 0; n < 2; n++) await application.next('disconnect')
      t.deepEqual(
        application.waiting.map(({ type }) => type),
        ['connect', 'connect'],
      )
    })

    test(`lives through a host that ${title} the sockets which it remembers, ${via}`, async (t) => {
      const sockets: Duplex[] = []
      const { port } = await start(t, via, (http) => http.on('connection', (socket) => sockets.push(socket)))
      const connection = await connect(t, { port })
      await connection.roundTrip()
      interfere(sockets[0] as Duplex)
      // What was handed over by its descriptor is out of the host's reach.
      if (via === 'auto') await connection.roundTrip()
      else t.is((await connection.closed()).code, 1006)
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
      const remember = (http: Server) => http.on('connection', (socket) => sockets.push(socket))
      const { wse, port } = await start(t, via, remember, { authenticate })
      const application = new Application(wse)
      const victim = await openSocket(t, { port })
      victim.write(upgradeRequest())
      await within(isAsked, 'the authenticate hook')
      interfere(sockets[0] as Duplex)
      if (title.startsWith('denies')) t.is((await victim.head()).status, 403)
      await victim.ended()
      t.is(victim.rest.length, 0)
      decide()
      await (await connect(t, { port })).roundTrip()
      await wse.close()
      await application.next('disconnect')
      t.deepEqual(
        application.waiting.map(({ type }) => type),
        ['auth_connect'],
      )
    })
  }
}

async function start(
  t: ExecutionContext,
  via: 'auto' | 'stream',
  prepare: (http: Server) => void = () => {},
  options: ServerOptions = {},
): Promise<{ wse: WseServer; port: number }> {
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
  return { wse, port: (http.address() as AddressInfo).port }
}
