/**
 * A port of the server's own, with TLS or without.
 *
 * Owns its address and its certificate. Never reads what comes in there.
 *
 * @module
 */
import { lookup } from 'node:dns/promises'
import { certificateOf, type Pem, TlsPort } from './certificate.js'
import type { listening } from './config.js'
import { translated, WseError } from './errors.js'
import type { Life } from './life.js'
import type { Log } from './log.js'
import { native } from './native.js'
import type { TlsOptions } from './options.js'

/** The port of one server, once it is open. */
export class Port {
  readonly #handle: number
  readonly #life: Life
  readonly #log: Log
  #tls: TlsPort | undefined

  constructor(handle: number, life: Life, log: Log) {
    this.#handle = handle
    this.#life = life
    this.#log = log
  }

  /** Listens; `prepare` is waited for when the address and the certificate are good. Resolves with the port. */
  async open({ host, port, tls }: ReturnType<typeof listening>, prepare: () => Promise<void>): Promise<number> {
    const address = await addressOf(host)
    const pem = tls && (await certificateOf(tls))
    // A server that was closed meanwhile prepares nothing.
    this.#life.ensureOpen()
    await prepare()
    this.#life.ensureOpen()
    const opened = translated(() => native.listen(this.#handle, address, port, pem?.cert, pem?.key))
    if (tls) this.#tls = this.#tlsPort(tls)
    return opened
  }

  /** See `setTls` of the server. */
  async setTls(tls: TlsOptions): Promise<void> {
    this.#life.ensureOpen()
    if (!this.#tls) {
      throw new WseError('WSE_OPTION_INVALID', 'the server has no port with TLS: give listen() the option tls')
    }
    await this.#tls.set(tls)
  }

  /** Looks at no file any more. */
  close(): void {
    this.#tls?.close()
  }

  #tlsPort(tls: TlsOptions): TlsPort {
    const use = ({ cert, key }: Pem) => {
      this.#life.ensureOpen()
      translated(() => native.setCertificate(this.#handle, cert, key))
    }
    return new TlsPort(tls, use, (err) => {
      if (this.#life.isRunning) this.#log.fault('WseTlsWarning', err.message, { code: err.code, err })
    })
  }
}

/** The first address of `host`, found without holding up the event loop. */
async function addressOf(host: string): Promise<string> {
  try {
    return (await lookup(host)).address
  } catch (cause) {
    throw new WseError('WSE_LISTEN_FAILED', `no address of ${host}: ${String(cause)}`, { cause })
  }
}
