/**
 * The certificate of a TLS port: from texts or files, checked before it is used, and read again when a file changes.
 *
 * @module
 */
import { X509Certificate } from 'node:crypto'
import { type StatsListener, unwatchFile, watchFile } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { WseError } from './errors.js'
import type { TlsOptions } from './types.js'

/** How often the files are looked at, in milliseconds: works on every file system, and through symbolic links. */
const WATCH_MS = 2_000

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
  checkTimes(pem.cert)
  return pem
}

/** Looks after the files of a certificate; `onChange` is called when one of them has changed. */
export class Watch {
  readonly #files: string[]
  readonly #onChange: StatsListener

  constructor(options: TlsOptions, onChange: () => void) {
    this.#files = 'certFile' in options ? [options.certFile, options.keyFile] : []
    this.#onChange = onChange
    for (const file of this.#files) watchFile(file, { interval: WATCH_MS, persistent: false }, this.#onChange)
  }

  close(): void {
    for (const file of this.#files) unwatchFile(file, this.#onChange)
  }
}

async function read(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    throw new WseError('WSE_TLS_INVALID', `cannot read ${file}: ${String(cause)}`, { cause })
  }
}

/** Refuses a certificate that no client would accept today. */
function checkTimes(cert: string): void {
  let certificate: X509Certificate
  try {
    certificate = new X509Certificate(cert)
  } catch (cause) {
    throw new WseError('WSE_TLS_INVALID', `the certificate is not PEM: ${String(cause)}`, { cause })
  }
  const { validFrom, validTo } = certificate
  if (Date.parse(validTo) <= Date.now()) {
    throw new WseError('WSE_TLS_INVALID', `the certificate expired on ${validTo}: renew it`)
  }
  if (Date.parse(validFrom) > Date.now()) {
    throw new WseError('WSE_TLS_INVALID', `the certificate is valid from ${validFrom} on, which is yet to come`)
  }
}
