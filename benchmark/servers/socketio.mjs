/**
 * The benchmark's application on Socket.IO, WebSocket transport only: a room is the topic.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { Server } from 'socket.io'
import { versionsOf } from '../versions.mjs'
import { Application } from './application.mjs'
import { Backlog } from './backlog.mjs'

const subscribers = new Set()
const backlog = new Backlog(subscribers, ({ conn }) => {
  const waiting = conn.writeBuffer.reduce((bytes, packet) => bytes + (packet.data?.length ?? 0), 0)
  return waiting + (conn.transport.socket?.bufferedAmount ?? 0)
})
let io

await new Application({
  open,
  subscribers: () => subscribers.size,
  publish: (text) => io.to('bench').emit('m', text),
  backlog: () => backlog.turns(),
  now: () => process.hrtime.bigint(),
  collect: () => globalThis.gc(),
}).run()

async function open({ mode, connectionStateRecovery }, application) {
  const http = createServer()
  io = new Server(http, { transports: ['websocket'], serveClient: false, connectionStateRecovery })
  io.on('connection', (socket) => {
    socket.data.user = socket.handshake.query.user
    if (mode !== 'churn') {
      socket.join('bench')
      subscribers.add(socket)
      socket.on('disconnect', () => subscribers.delete(socket))
    }
    socket.on('m', (text) => {
      if (mode === 'echo') socket.emit('m', text)
      else application.receive(text)
    })
  })
  http.listen({ host: '127.0.0.1', port: 0, backlog: 4096 })
  await once(http, 'listening')
  return {
    port: http.address().port,
    path: '/socket.io/?EIO=4&transport=websocket&user={i}',
    engineIo: true,
    versions: versionsOf('socket.io'),
    options:
      'transports: websocket only, no compression, default in-memory adapter' +
      (connectionStateRecovery ? ', connectionStateRecovery' : ''),
  }
}
