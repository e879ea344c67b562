// Engines for tests: on a port of the system's choice, closed when the test is over.
import type { ExecutionContext } from 'ava'
import { type InboundEvent, type ServerOptions, type TlsOptions, WseServer } from 'wse-server'
import { Arrivals, within } from './arrivals.js'

export type RunningServer = WseServer & { readonly port: number }

/** A listening engine with these options. Nobody drains it unless the test does. */
export async function startServer(
  t: ExecutionContext,
  options: ServerOptions = {},
  tls?: TlsOptions,
): Promise<RunningServer> {
  const server = new WseServer(options)
  t.teardown(() => server.close())
  const { port } = await server.listen({ host: '127.0.0.1', port: 0, ...(tls && { tls }) })
  return Object.assign(server, { port })
}

/**
 * What the application sees: every event of the engine, in order, until the engine closes.
 *
 * A busy one takes its first batch and stands still over it until `isFree` resolves.
 */
export class Application {
  readonly #events = new Arrivals<InboundEvent>()

  constructor(server: WseServer, isFree?: Promise<void>) {
    void this.#drain(server, isFree)
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

  async #drain(server: WseServer, isFree: Promise<void> | undefined): Promise<void> {
    try {
      for await (const batch of server.drain()) {
        await isFree
        for (const event of batch) this.#events.push(event)
      }
      this.#events.end('the engine closed')
    } catch (cause) {
      // Whoever waits for an event is told.
      this.#events.end(String(cause))
    }
  }
}

/** The first warning of this process with this name. */
export function warned(t: ExecutionContext, name: string): Promise<Error & { detail?: string }> {
  const warning = new Promise<Error>((resolve) => {
    const onWarning = (warning: Error) => {
      if (warning.name === name) resolve(warning)
    }
    process.on('warning', onWarning)
    t.teardown(() => process.off('warning', onWarning))
  })
  return within(warning, `the warning ${name}`)
}
