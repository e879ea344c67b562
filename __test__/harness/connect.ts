// WebSocket connections of tests, made with the third-party client `ws`.
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { ExecutionContext } from 'ava'
import WebSocket, { type PerMessageDeflateOptions } from 'ws'
import { Arrivals, within } from './arrivals.js'
import { type Envelope, typeOf } from './envelope.js'
import type { Address } from './socket.js'

export interface ConnectOptions {
  path?: string
  /** Sent as `Authorization: Bearer`. */
  token?: string
  headers?: Record<string, string>
  protocols?: string[]
  /** Stops reading before the first byte after the upgrade. */
  paused?: boolean
  /** The address that the connection comes from. Default: the system's choice. */
  localAddress?: string
  /** What the client offers of permessage-deflate. Default: nothing. */
  deflate?: PerMessageDeflateOptions
  /** Whether pings are answered. Default: true. */
  autoPong?: boolean
  /** Whether the server's greeting is awaited and taken. Default: true. */
  greeted?: boolean
}

export class Connection {
  readonly #texts = new Arrivals<string>()
  readonly #bytes = new Arrivals<Buffer>()
  readonly #control = new Arrivals<{ kind: 'ping' | 'pong'; data: Buffer }>()
  readonly #closed: Promise<{ code: number; reason: string }>
  readonly socket: WebSocket
  /** The id that the greeting named; empty without a greeting. */
  id = ''

  constructor(socket: WebSocket) {
    this.socket = socket
    socket.on('message', (data, isBinary) =>
      isBinary ? this.#bytes.push(data as Buffer) : this.#texts.push(data.toString()),
    )
    socket.on('ping', (data) => this.#control.push({ kind: 'ping', data }))
    socket.on('pong', (data) => this.#control.push({ kind: 'pong', data }))
    this.#closed = new Promise((resolve) =>
      socket.on('close', (code, reason) => {
        for (const arrivals of [this.#texts, this.#bytes, this.#control]) arrivals.end(`closed with ${code}`)
        resolve({ code, reason: reason.toString() })
      }),
    )
    socket.on('error', (error) => this.#texts.end(error.message))
  }

  /** The next envelope of this type; earlier ones of other types stay. */
  async next(type: string): Promise<Envelope> {
    return JSON.parse(await this.#texts.next(`envelope ${type}`, (text) => typeOf(text) === type)) as Envelope
  }

  nextText(matches?: (text: string) => boolean): Promise<string> {
    return this.#texts.next('a text', matches)
  }

  nextBytes(): Promise<Buffer> {
    return this.#bytes.next('a binary message')
  }

  nextControl(kind: 'ping' | 'pong'): Promise<{ kind: string; data: Buffer }> {
    return this.#control.next(`a ${kind}`, (frame) => frame.kind === kind)
  }

  /** Texts that have arrived and were not taken. */
  get waiting(): readonly string[] {
    return this.#texts.waiting
  }

  /** Pings and pongs that have arrived and were not taken. */
  get waitingControl(): readonly { kind: string; data: Buffer }[] {
    return this.#control.waiting
  }

  /** Resolves with what the server said at the end. */
  closed(): Promise<{ code: number; reason: string }> {
    return within(this.#closed, 'the close of a connection')
  }

  send(message: string | Uint8Array | object): void {
    const isPlain = typeof message === 'string' || message instanceof Uint8Array
    this.socket.send(isPlain ? message : JSON.stringify(message))
  }

  /** Proves that the server serves this connection: a ping of the protocol and its answer. */
  async roundTrip(): Promise<void> {
    const timestamp = Date.now()
    this.send({ t: 'ping', p: { timestamp } })
    await this.next('PONG')
  }

  /** Subscribes as a client does and returns the reply's payload. */
  async subscribe(topics: string[]): Promise<Record<string, unknown>> {
    this.send({ t: 'subscription_update', p: { action: 'subscribe', topics } })
    return (await this.next('subscription_update')).p
  }

  async close(): Promise<void> {
    this.socket.close(1000)
    await this.closed()
  }
}

/** A connection that was accepted; terminated when the test is over. */
export async function connect(t: ExecutionContext, server: Address, options: ConnectOptions = {}): Promise<Connection> {
  const socket = open(server, options)
  t.teardown(() => socket.terminate())
  const connection = new Connection(socket)
  await within(
    new Promise<void>((resolve, reject) => {
      socket.once('upgrade', () => {
        if (options.paused) socket.once('open', () => socket.pause())
      })
      socket.once('open', resolve)
      socket.once('error', reject)
    }),
    'a connection',
  )
  if (options.greeted !== false && !options.paused) {
    const { p } = await connection.next('server_ready')
    connection.id = (p.details as { connection_id: string }).connection_id
  }
  return connection
}

export interface Refusal {
  status: number
  headers: IncomingHttpHeaders
  body: string
}

/** The HTTP answer of a server that does not upgrade. Fails when it does. */
export function refused(t: ExecutionContext, server: Address, options: ConnectOptions = {}): Promise<Refusal> {
  const socket = open(server, options)
  t.teardown(() => socket.terminate())
  const answer = new Promise<Refusal>((resolve, reject) => {
    socket.once('open', () => reject(new Error('was upgraded')))
    socket.once('error', reject)
    socket.once('unexpected-response', (_, response: IncomingMessage) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (chunk) => {
        body += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }))
    })
  })
  return within(answer, 'a refusal')
}

function open({ port, socketPath, ca }: Address, options: ConnectOptions): WebSocket {
  const { path = '/wse', token, headers = {}, protocols = [], autoPong = true, localAddress, deflate } = options
  const origin = socketPath ? `ws+unix:${socketPath}:` : `${ca ? 'wss' : 'ws'}://127.0.0.1:${port}`
  return new WebSocket(`${origin}${path}`, protocols, {
    ...(ca && { ca }),
    ...(localAddress && { localAddress }),
    headers: token === undefined ? headers : { authorization: `Bearer ${token}`, ...headers },
    perMessageDeflate: deflate ?? false,
    autoPong,
  })
}
