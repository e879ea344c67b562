// A wire between a client and a server that a test can listen in on, cut, and lay to another server.
import { connect, createServer, type Socket } from 'node:net'
import type { ExecutionContext } from 'ava'
import { RawSocket } from './socket.js'

export class Relay {
  readonly #sockets = new Set<Socket>()
  #server: { port: number }
  #latest: RawSocket | undefined
  port = 0

  constructor(server: { port: number }) {
    this.#server = server
  }

  /** What the server says on the latest connection. */
  get heard(): RawSocket {
    if (this.#latest === undefined) throw new Error('nobody has connected')
    return this.#latest
  }

  /** Connections from now on go to this server. */
  layTo(server: { port: number }): void {
    this.#server = server
  }

  /** Ends all connections without a word. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  /** Passes on nothing from now on: who writes learns from TCP that nobody reads. */
  hold(): void {
    for (const socket of this.#sockets) socket.pause()
  }

  /** Passes on what was held, and what comes. */
  release(): void {
    for (const socket of this.#sockets) socket.resume()
  }

  async open(t: ExecutionContext): Promise<void> {
    const listener = createServer((client) => {
      const upstream = connect(this.#server.port, '127.0.0.1')
      for (const socket of [client, upstream]) {
        this.#sockets.add(socket)
        socket.on('close', () => this.#sockets.delete(socket))
      }
      // An end on one side is one on the other, however it came.
      client.on('error', () => upstream.destroy())
      upstream.on('error', () => client.destroy())
      client.pipe(upstream).pipe(client)
      this.#latest = new RawSocket(upstream)
    })
    t.teardown(() => {
      this.cut()
      listener.close()
    })
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
    this.port = (listener.address() as { port: number }).port
  }
}

/** A wire to `server`; ended when the test is over. */
export async function startRelay(t: ExecutionContext, server: { port: number }): Promise<Relay> {
  const relay = new Relay(server)
  await relay.open(t)
  return relay
}
