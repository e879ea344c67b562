/**
 * The benchmark's application on `ws`, the way its documentation shows: a loop over the clients.
 *
 * With `express` it is the server of an Express application, which verifies a token before the upgrade.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { WebSocketServer } from 'ws'
import { Application } from './application.mjs'
import { Backlog } from './backlog.mjs'

const require = createRequire(import.meta.url)
const topics = new Map([['bench', new Set()]])
const subscribers = topics.get('bench')
const backlog = new Backlog(subscribers, (socket) => socket.bufferedAmount)

await new Application({
  open: (options, application) => (options.express ? openOnExpress : open)(options, application),
  subscribers: () => subscribers.size,
  publish(text) {
    const data = Buffer.from(text)
    for (const socket of subscribers) socket.send(data, { binary: false })
  },
  backlog: () => backlog.turns(),
  now: () => process.hrtime.bigint(),
  collect: () => globalThis.gc(),
}).run()

async function open({ mode }, application) {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, backlog: 4096 })
  server.on('connection', (socket, request) => accept(socket, request, mode, application))
  await once(server, 'listening')
  return description(server.address().port)
}

async function openOnExpress({ mode, secret }, application) {
  const { default: express } = await import('express')
  const { default: jwt } = await import('jsonwebtoken')
  const http = createServer(express())
  const server = new WebSocketServer({ noServer: true })
  http.on('upgrade', (request, socket, head) => {
    try {
      const token = request.headers.authorization?.slice('Bearer '.length)
      request.claims = jwt.verify(token, secret, { algorithms: ['HS256'] })
    } catch {
      socket.end('HTTP/1.1 401 Unauthorized\r\n\r\n')
      return
    }
    server.handleUpgrade(request, socket, head, (client) => accept(client, request, mode, application))
  })
  http.listen({ host: '127.0.0.1', port: 0, backlog: 4096 })
  await once(http, 'listening')
  return description(http.address().port)
}

function accept(socket, request, mode, application) {
  socket.user = request.claims?.sub ?? request.url.split('user=')[1]
  if (mode !== 'churn') {
    subscribers.add(socket)
    socket.on('close', () => subscribers.delete(socket))
  }
  // A client that resets its connection ends in `close` too; an `error` without a listener would end the process.
  socket.on('error', () => {})
  socket.on('message', (data, isBinary) => {
    if (mode === 'echo') socket.send(data, { binary: isBinary })
    else application.receive(data.toString())
  })
}

function description(port) {
  return {
    port,
    path: '/?user={i}',
    versions: { node: process.versions.node, ws: require('ws/package.json').version },
    options: 'defaults: no compression, no optional native modules; a message is one Buffer for all clients',
  }
}
