// Servers that are not ours: what the command and other clients may meet at an address.
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { ExecutionContext } from 'ava'
import { type WebSocket, WebSocketServer } from 'ws'

/** A server that upgrades every request, if it is told what to say then, and answers every other one as it is told to. */
export async function startStranger(
  t: ExecutionContext,
  answer: RequestListener,
  onOpen?: (socket: WebSocket) => void,
): Promise<{ port: number }> {
  const http = createServer(answer)
  const sockets = onOpen && new WebSocketServer({ server: http }).on('connection', onOpen)
  t.teardown(() => {
    for (const socket of sockets?.clients ?? []) socket.terminate()
    http.closeAllConnections()
    http.close()
  })
  await once(http.listen(0, '127.0.0.1'), 'listening')
  return { port: (http.address() as AddressInfo).port }
}
