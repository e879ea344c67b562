/**
 * A client's connection: opened, greeted, and read message by message.
 *
 * Owns no decision about coming back; whoever opened it is told how it ended.
 *
 * @module
 */
import type { IncomingMessage } from 'node:http'
import WebSocket from 'ws'
import { headersOf, type Target, trustOf } from './target.js'

/** A message of the protocol. */
export interface Envelope {
  readonly t: string
  readonly p: Record<string, unknown>
}

export interface Closing {
  readonly code: number
  readonly reason: string
}

/** The server does not want this client: it answers with an HTTP status, or ends the connection. */
export class Refusal extends Error {
  /** Null: it did not even upgrade. */
  readonly closing: Closing | null
  /** The status instead of an upgrade; 0: it did upgrade. */
  readonly status: number

  constructor(message: string, { closing = null, status = 0 }: { closing?: Closing | null; status?: number }) {
    super(message)
    this.closing = closing
    this.status = status
  }

  /** Coming back would change nothing. */
  get isFinal(): boolean {
    return isFinal(this.closing?.code ?? 0)
  }
}

/** What was waited for did not come, although the connection is there. */
export class Silence extends Error {}

/** Close codes after which clients stay away: the token, not allowed, and two good ends. */
export const isFinal = (code: number): boolean => [1000, 1001, 4401, 4403].includes(code)

/** A WebSocket towards a target, not open yet. */
function socketTo(target: Target): WebSocket {
  return new WebSocket(target.url, {
    headers: headersOf(target),
    handshakeTimeout: target.timeoutMs,
    perMessageDeflate: false,
    ...trustOf(target),
  })
}

/** A text as a message; null: it is none. */
export function envelopeOf(text: string): Envelope | null {
  try {
    const value = JSON.parse(text) as Partial<Envelope> | null
    if (typeof value?.t !== 'string') return null
    return { t: value.t, p: typeof value.p === 'object' && value.p !== null ? value.p : {} }
  } catch {
    // An application may send any text.
    return null
  }
}

export interface ClientOptions {
  /** Told of every text behind the greeting, also of those that are waited for. */
  readonly onText: (text: string, envelope: Envelope | null, client: Client) => void
  /** Gives the connection up while it is being opened. */
  readonly signal?: AbortSignal
}

/** What waits for a message. */
interface Waiter {
  readonly type: string
  readonly resolve: (envelope: Envelope) => void
  readonly reject: (cause: Error) => void
}

export class Client {
  readonly #timeoutMs: number
  readonly #onText: ClientOptions['onText']
  readonly #waiters: Waiter[] = []
  #isGreeted = false
  #greeting: Envelope['p'] = {}
  /** What an `error` in place of the greeting said. */
  #refusal = ''
  readonly socket: WebSocket
  /** Resolves when the connection is gone. */
  readonly closed: Promise<Closing>

  private constructor(target: Target, onText: ClientOptions['onText']) {
    this.#timeoutMs = target.timeoutMs
    this.#onText = onText
    this.socket = socketTo(target)
    this.closed = new Promise((resolve) =>
      this.socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() })),
    )
    this.socket.on('message', (data, isBinary) => this.#take(data as Buffer, isBinary))
    void this.closed.then((closing) => {
      const cause = new Refusal(this.#refusal || describe(closing), { closing })
      for (const { reject } of this.#waiters.splice(0)) reject(cause)
    })
  }

  /** Connects and waits for the greeting. Rejects with {@link Refusal}, or with what the network says. */
  static async open(target: Target, { onText, signal }: ClientOptions): Promise<Client> {
    const client = new Client(target, onText)
    const { socket } = client
    const abort = () => socket.terminate()
    signal?.addEventListener('abort', abort)
    try {
      client.#greeting = await new Promise<Envelope['p']>((resolve, reject) => {
        // The greeting may come with the upgrade, in one packet: whoever waits for it has to be there.
        socket.once('open', () => resolve(client.#next('server_ready').then(({ p }) => p)))
        socket.once('unexpected-response', (_, response: IncomingMessage) => reject(refusalOf(response)))
        socket.on('error', reject)
      })
      return client
    } catch (cause) {
      socket.terminate()
      throw cause
    } finally {
      signal?.removeEventListener('abort', abort)
    }
  }

  /** The payload of the greeting. */
  get greeting(): Envelope['p'] {
    return this.#greeting
  }

  /** Sends a message and waits for one of the type that answers it. */
  async ask(t: string, p: object, answer: string): Promise<Envelope> {
    const arrival = this.#next(answer)
    this.socket.send(JSON.stringify({ t, p }))
    return arrival
  }

  /** Says goodbye; a server that does not answer is not waited for long. */
  async close(): Promise<void> {
    this.socket.close(1000)
    const timer = setTimeout(() => this.socket.terminate(), 1_000)
    await this.closed
    clearTimeout(timer)
  }

  #next(type: string): Promise<Envelope> {
    return new Promise((resolve, reject) => {
      const expire = () => reject(new Silence(`no ${type} within ${this.#timeoutMs / 1_000} s`))
      const timer = setTimeout(expire, this.#timeoutMs)
      const settle =
        <T>(report: (value: T) => void) =>
        (value: T) => {
          clearTimeout(timer)
          report(value)
        }
      this.#waiters.push({ type, resolve: settle(resolve), reject: settle(reject) })
    })
  }

  #take(data: Buffer, isBinary: boolean): void {
    if (isBinary) {
      console.error(`a binary message of ${data.length} bytes`)
      return
    }
    const text = data.toString()
    const envelope = envelopeOf(text)
    if (this.#isGreeted) this.#onText(text, envelope, this)
    else if (envelope?.t === 'error') this.#refusal = `refused with ${envelope.p.code}: ${envelope.p.message}`
    else if (envelope?.t === 'server_ready') this.#isGreeted = true
    const index = this.#waiters.findIndex(({ type }) => type === envelope?.t)
    if (envelope && index >= 0) this.#waiters.splice(index, 1)[0]?.resolve(envelope)
  }
}

function refusalOf({ statusCode: status = 0, statusMessage = '', headers }: IncomingMessage): Refusal {
  // What is behind the path may be a secret.
  const towards = headers.location === undefined ? '' : `, towards ${headers.location.replace(/[?#].*/s, '')}`
  return new Refusal(`answered with ${status} ${statusMessage} instead of an upgrade${towards}`, { status })
}

/** How a connection ended, in words. */
export const describe = ({ code, reason }: Closing): string =>
  code === 1006 ? 'cut without a close code' : `closed with ${code}${reason && `: ${reason}`}`
