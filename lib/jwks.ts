/**
 * Keys of tokens that somebody else publishes, at a URL or in a file.
 *
 * Owns when they are looked at: in the background, and only a token of an unknown key waits for it. What could not be
 * had leaves the keys before in force.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { WseError } from './errors.js'
import { watch } from './files.js'

/** How old the keys become before they are fetched again, in milliseconds. */
const REFRESH_MS = 10 * 60_000
/** How soon they are tried for again when they could not be had: doubled each time, up to a bound. */
const RETRY_MS = 1_000
const MOST_RETRY_MS = 60_000
/** How many looks unknown keys may cause in so many milliseconds: whoever invents them must not make the publisher work. */
const WISHES = 3
const WISHES_MS = 30_000
/** How long an answer may take, and how large it may be. */
const TIMEOUT_MS = 5_000
const MAX_BYTES = 256 << 10

/** Where keys are. */
export interface Origin {
  /** What messages call it. */
  readonly name: string
  /** What can be had without waiting. Null: nothing; throws when there is nothing to wait for either. */
  initial(): string | null
  load(signal: AbortSignal): Promise<string>
  /** Calls back after each change that can be seen from here; what it returns ends that. */
  watch?(onChange: () => void): () => void
}

/** Does `work` after so many milliseconds, unless the process ends before or what it returns is called. */
export type After = (ms: number, work: () => void) => () => void

const timer: After = (ms, work) => {
  const timeout = setTimeout(work, ms).unref()
  return () => clearTimeout(timeout)
}

const nothing = (): void => {}

/** The keys of one server. */
export class KeySource {
  readonly #origin: Origin
  readonly #use: (jwks: string) => void
  readonly #onFault: (fault: WseError) => void
  readonly #after: After
  readonly #abort = new AbortController()
  #loading: Promise<boolean> | undefined
  #failures = 0
  #wishes = WISHES
  #unwatch = nothing
  #cancelNext = nothing

  /** `use` takes a key set, or throws; `onFault` hears why there are no newer ones. */
  constructor(origin: Origin, use: (jwks: string) => void, onFault: (fault: WseError) => void, after: After = timer) {
    this.#origin = origin
    this.#use = use
    this.#onFault = onFault
    this.#after = after
  }

  /** Begins to look, and goes on with it. Resolves when it has looked once, with success or without. */
  async open(): Promise<void> {
    this.#unwatch = this.#origin.watch?.(() => void this.#lookAnew()) ?? nothing
    await this.#look()
  }

  /**
   * Somebody has a token of an unknown key. Resolves when it has looked: true, what can be had is in force; false, it
   * could not be had, or too many have wished.
   */
  async wish(): Promise<boolean> {
    if (this.#wishes === 0) return false
    this.#wishes -= 1
    this.#after(WISHES_MS, () => {
      this.#wishes += 1
    })
    return this.#lookAnew()
  }

  /** Looks no more, and lets go of what is under way. */
  close(): void {
    this.#abort.abort()
    this.#unwatch()
    this.#cancelNext()
  }

  /** Looks behind what is under way, which may be older than the reason. */
  async #lookAnew(): Promise<boolean> {
    await this.#loading
    return this.#look()
  }

  /** Looks, unless it is looking already. True: with success. Never rejects. */
  async #look(): Promise<boolean> {
    if (this.#abort.signal.aborted) return false
    this.#loading ??= this.#load().finally(() => {
      this.#loading = undefined
    })
    return this.#loading
  }

  async #load(): Promise<boolean> {
    const { signal } = this.#abort
    this.#cancelNext()
    try {
      const jwks = await this.#origin.load(signal)
      if (signal.aborted) return false
      this.#use(jwks)
      this.#failures = 0
    } catch (cause) {
      if (signal.aborted) return false
      this.#failures += 1
      const message = `no keys from ${this.#origin.name}: ${reasonOf(cause)}`
      this.#onFault(new WseError('WSE_JWKS_FAILED', message, { cause }))
    }
    const retryMs = Math.min(RETRY_MS * 2 ** (this.#failures - 1), MOST_RETRY_MS)
    this.#cancelNext = this.#after(this.#failures > 0 ? retryMs : REFRESH_MS, () => void this.#look())
    return this.#failures === 0
  }
}

/** What the option says: a URL, of a file too, or a path. Throws an error that says what is wrong with it. */
export function originOf(location: string): Origin {
  if (!/^[a-z][a-z\d+.-]*:\/\//i.test(location)) return fileOrigin(location)
  const url = new URL(location)
  if (url.protocol === 'file:') return fileOrigin(fileURLToPath(url))
  const isPrivate = url.protocol === 'http:' && /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname)
  if (url.protocol !== 'https:' && !isPrivate) throw new Error('only https, except on this machine itself')
  if (url.username !== '' || url.password !== '') throw new Error('a URL without user and password')
  return urlOrigin(url)
}

/** A file, which is read again when it changes. */
function fileOrigin(path: string): Origin {
  return {
    name: path,
    initial: () => textOf(readFileSync(path)),
    load: async (signal) => textOf(await readFile(path, { signal })),
    watch: (onChange) => watch([path], onChange),
  }
}

/** A URL. A redirection is a fault: it could lead anywhere. */
export function urlOrigin(url: URL, timeoutMs = TIMEOUT_MS): Origin {
  return {
    // What is behind the path may be a secret, and names stand in logs.
    name: `${url.origin}${url.pathname}`,
    initial: () => null,
    async load(signal) {
      const response = await fetch(url, {
        headers: { accept: 'application/json' },
        redirect: 'error',
        signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
      })
      if (response.status !== 200) {
        await response.body?.cancel()
        throw new Error(`HTTP ${response.status}`)
      }
      const chunks: Uint8Array[] = []
      let bytes = 0
      // Leaving the loop ends the connection: the rest of what is too large is not read.
      for await (const chunk of response.body ?? []) {
        bytes += chunk.length
        if (bytes > MAX_BYTES) throw new Error(`an answer of over ${MAX_BYTES} bytes`)
        chunks.push(chunk)
      }
      return textOf(Buffer.concat(chunks))
    },
  }
}

/** The text of bytes, without the mark that some editors put before it. */
const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

/** What fetch says, which keeps the interesting part inside. */
function reasonOf(cause: unknown): string {
  const { message, cause: inner } = cause instanceof Error ? cause : new Error(String(cause))
  return inner instanceof Error ? `${message} (${inner.message || (inner as { code?: string }).code})` : message
}
