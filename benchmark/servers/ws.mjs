/**
 * The benchmark's application on `ws`, the way its documentation shows: a loop over the clients.
 *
 * With the option `jwt` a token is verified before the upgrade.
 */
import { createPublicKey, createSecretKey } from 'node:crypto'
import { WebSocketServer } from 'ws'
import { versionsOf } from '../versions.mjs'
import { Application } from './application.mjs'
import { Backlog } from './backlog.mjs'
import { hostOf, listenOn } from './hosts.mjs'

const topics = new Map([['bench', new Set()]])
const subscribers = topics.get('bench')
const backlog = new Backlog(subscribers, (socket) => socket.bufferedAmount)

await new Application({
  open,
  subscribers: () => subscribers.size,
  publish(text) {
    const data = Buffer.from(text)
    for (const socket of subscribers) socket.send(data, { binary: false })
  },
  backlog: () => backlog.turns(),
  now: () => process.hrtime.bigint(),
  collect: () => globalThis.gc(),
}).run()

async function open({ mode, host = 'node', tls, jwt }, application) {
  const { http, versions } = await hostOf(host, tls)
  const server = jwt ? await verifying(http, jwt) : new WebSocketServer({ server: http })
  server.on('connection', (socket, request) => accept(socket, request, mode, application))
  return {
    port: await listenOn(http),
    path: '/?user={i}',
    versions: { ...versions, ...versionsOf('ws') },
    options: 'defaults: no compression, no optional native modules; a message is one Buffer for all clients',
  }
}

/** A server that asks for a token, as the documentation of `ws` shows. */
async function verifying(http, { secret, publicKey, algorithm = 'HS256' }) {
  const { default: jwt } = await import('jsonwebtoken')
  const server = new WebSocketServer({ noServer: true })
  // Made once: from a text jsonwebtoken makes a key for each token, which costs ten times as much as to check it.
  const key = secret ? createSecretKey(Buffer.from(secret)) : createPublicKey(publicKey)
  http.on('upgrade', (request, socket, head) => {
    try {
      const token = request.headers.authorization?.slice('Bearer '.length)
      request.claims = jwt.verify(token, key, { algorithms: [algorithm] })
    } catch {
      socket.end('HTTP/1.1 401 Unauthorized\r\n\r\n')
      return
    }
    server.handleUpgrade(request, socket, head, (client) => server.emit('connection', client, request))
  })
  return server
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
