// Engines for tests: on a port of the system's choice, closed when the test is over.
import type { ExecutionContext } from 'ava'
import { type InboundEvent, type ServerOptions, WseServer } from 'wse-server'
import { Arrivals } from './arrivals.js'

export type RunningServer = WseServer & { readonly port: number }

/** A listening engine with these options. Nobody drains it unless the test does. */
export async function startServer(t: ExecutionContext, options: ServerOptions = {}): Promise<RunningServer> {
  const server = new WseServer(options)
  t.teardown(() => server.close())
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
  return Object.assign(server, { port })
}

/** What the application sees: every event of the engine, in order, until the engine closes. */
export class Application {
  readonly #events = new Arrivals<InboundEvent>()
  readonly ended: Promise<void>

  constructor(server: WseServer, onEvent: (event: InboundEvent) => void = () => {}) {
    this.ended = this.#drain(server, onEvent)
    // A failure of the loop reaches whoever waits for an event; `ended` tells it again to who asks.
    this.ended.catch(() => {})
  }

  next<K extends InboundEvent['type']>(
    type: K,
    matches: (event: Extract<InboundEvent, { type: K }>) => boolean = () => true,
  ): Promise<Extract<InboundEvent, { type: K }>> {
    const isWanted = (event: InboundEvent) =>
      event.type === type && matches(event as Extract<InboundEvent, { type: K }>)
    return this.#events.next(`event ${type}`, isWanted) as Promise<Extract<InboundEvent, { type: K }>>
  }

  get waiting(): readonly InboundEvent[] {
    return this.#events.waiting
  }

  async #drain(server: WseServer, onEvent: (event: InboundEvent) => void): Promise<void> {
    try {
      for await (const batch of server.drain()) {
        for (const event of batch) {
          onEvent(event)
          this.#events.push(event)
        }
      }
      this.#events.end('the engine closed')
    } catch (cause) {
      this.#events.end(String(cause))
      throw cause
    }
  }
}
