/**
 * The certificate of a TLS port: from texts or files, checked before it is used, and read again when a file changes.
 *
 * @module
 */
import type { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { WseError } from './errors.js'
import { WATCH_MS, watch } from './files.js'
import { crypto } from './keys.js'
import type { TlsOptions } from './options.js'

/** A certificate chain and its private key, both PEM. */
export interface Pem {
  readonly cert: string
  readonly key: string
}

/** Reads and checks a certificate. Rejects with `WSE_TLS_INVALID`. */
export async function certificateOf(options: TlsOptions): Promise<Pem> {
  const pem =
    'certFile' in options
      ? { cert: await read(options.certFile), key: await read(options.keyFile) }
      : { cert: String(options.cert), key: String(options.key) }
  checkTimes(parsed(pem.cert))
  return pem
}

/** The certificate of one port, which may change: one change at a time, the last one wins. */
export class TlsPort {
  readonly #use: (pem: Pem) => void
  readonly #onFault: (fault: WseError) => void
  #options: TlsOptions
  #turn: Promise<void> = Promise.resolve()
  #secondLook: NodeJS.Timeout | undefined
  #unwatch = () => {}

  /** `use` gives the port a certificate, or throws; `onFault` hears of files that have become bad. */
  constructor(options: TlsOptions, use: (pem: Pem) => void, onFault: (fault: WseError) => void) {
    this.#options = options
    this.#use = use
    this.#onFault = onFault
    this.#watch(options)
  }

  /** Changes the certificate; a rejection leaves the one before in force, and its files watched. */
  set(options: TlsOptions): Promise<void> {
    return this.#inTurn(async () => {
      this.#use(await certificateOf(options))
      this.close()
      this.#watch(options)
    })
  }

  /** Looks at no file any more. */
  close(): void {
    clearTimeout(this.#secondLook)
    this.#unwatch()
  }

  #watch(options: TlsOptions): void {
    this.#options = options
    this.#unwatch = watch(filesOf(options), this.#onChange)
  }

  /** Of two files that change one after the other, the first change alone is of no use: there is a second look. */
  readonly #onChange = (): void => {
    this.#reload().catch(() => {
      clearTimeout(this.#secondLook)
      this.#secondLook = setTimeout(() => this.#reload().catch(this.#onFault), WATCH_MS).unref()
    })
  }

  #reload(): Promise<void> {
    const options = this.#options
    return this.#inTurn(async () => {
      const pem = await certificateOf(options)
      if (this.#options === options) this.#use(pem)
    })
  }

  #inTurn(change: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(change)
    // Whoever comes next has no part in the fault of this one.
    this.#turn = turn.catch(() => {})
    return turn
  }
}

const filesOf = (options: TlsOptions): string[] => ('certFile' in options ? [options.certFile, options.keyFile] : [])

async function read(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    throw new WseError('WSE_TLS_INVALID', `cannot read ${file}: ${String(cause)}`, { cause })
  }
}

function parsed(cert: string): X509Certificate {
  try {
    return new (crypto().X509Certificate)(cert)
  } catch (cause) {
    throw new WseError('WSE_TLS_INVALID', `the certificate is not PEM: ${String(cause)}`, { cause })
  }
}

/** Refuses a certificate that no client would accept today. */
function checkTimes({ validFrom, validTo }: X509Certificate): void {
  if (Date.parse(validTo) <= Date.now()) {
    throw new WseError('WSE_TLS_INVALID', `the certificate expired on ${validTo}: renew it`)
  }
  if (Date.parse(validFrom) > Date.now()) {
    throw new WseError('WSE_TLS_INVALID', `the certificate is valid from ${validFrom} on, which is yet to come`)
  }
}
