// Hosts for router mode: an HTTP server of the application with an engine attached to it.
import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { Server as HttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { ExecutionContext } from 'ava'
import { type AttachOptions, type ServerOptions, WseServer } from 'wse-server'
import { within } from './arrivals.js'

export interface Host<S extends Server | HttpsServer = Server> {
  readonly http: S
  readonly wse: WseServer
  readonly port: number
}

/** A listening HTTP server with this request listener, an engine attached; both closed when the test is over. */
export function startHost(
  t: ExecutionContext,
  options: ServerOptions = {},
  listener: RequestListener = (_, response) => response.writeHead(404).end('host'),
  prepare: (http: Server) => void = () => {},
): Promise<Host> {
  const http = createServer(listener)
  prepare(http)
  return serveOn(t, http, options)
}

/** Attaches an engine to a server that somebody made, and listens: on a port, or on a Unix domain socket. */
export async function serveOn<S extends Server | HttpsServer>(
  t: ExecutionContext,
  http: S,
  options: ServerOptions = {},
  { socketPath, ...how }: AttachOptions & { socketPath?: string } = {},
): Promise<Host<S>> {
  const wse = new WseServer(options)
  wse.attach(http, how)
  t.teardown(async () => {
    await wse.close()
    http.close()
    http.closeAllConnections()
  })
  http.listen(socketPath === undefined ? { port: 0, host: '127.0.0.1' } : { path: socketPath })
  await within(once(http, 'listening'), 'the host to listen')
  return { http, wse, port: socketPath === undefined ? (http.address() as AddressInfo).port : 0 }
}

/** The answer to a plain request. */
export async function get(host: { port: number }, path: string): Promise<{ status: number; body: string }> {
  const response = await fetch(`http://127.0.0.1:${host.port}${path}`, { signal: AbortSignal.timeout(20_000) })
  return { status: response.status, body: await response.text() }
}
