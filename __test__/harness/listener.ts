// A client that understands every way in which messages come, with implementations that are not ours: zlib and
// crypto of Node.js, and @msgpack/msgpack.
import { createECDH, type ECDH } from 'node:crypto'
import { inflateSync } from 'node:zlib'
import { decode } from '@msgpack/msgpack'
import type { ExecutionContext } from 'ava'
import type { RawData } from 'ws'
import { Arrivals } from './arrivals.js'
import { type Connection, type ConnectOptions, connect } from './connect.js'
import { commonKey, seal, unseal } from './encryption.js'
import type { Envelope } from './envelope.js'
import type { Address } from './socket.js'

/** What a message came in. */
export type Carrier = 'text' | 'payload' | 'zlib' | 'msgpack' | 'sealed' | 'bytes'

export interface Message {
  readonly carrier: Carrier
  /** The envelope; `null` where it is none. */
  readonly envelope: Envelope | null
  /** What came, opened as far as it is not JSON. */
  readonly bytes: Buffer
}

export class Listener {
  readonly #messages = new Arrivals<Message>()
  readonly connection: Connection
  #pair: ECDH | null = null
  key: Buffer | null = null

  constructor(connection: Connection) {
    this.connection = connection
    connection.socket.on('message', (data, isBinary) => this.#hear(data, isBinary))
    connection.socket.on('close', (code) => this.#messages.end(`closed with ${code}`))
  }

  /** The next envelope of one of these types, whatever carries it. */
  next(...types: string[]): Promise<Message & { envelope: Envelope }> {
    const isWanted = ({ envelope }: Message) => types.includes(envelope?.t ?? '')
    return this.#messages.next(`envelope ${types}`, isWanted) as Promise<Message & { envelope: Envelope }>
  }

  /** The next message that is no envelope. */
  nextOther(): Promise<Message> {
    return this.#messages.next('no envelope', ({ envelope }) => envelope === null)
  }

  /** Messages that have arrived and were not taken. */
  get waiting(): readonly Message[] {
    return this.#messages.waiting
  }

  /** The public key of the next exchange, as it stands in a hello; the same until there was one. */
  publicKey(): string {
    if (this.#pair !== null) return this.#pair.getPublicKey('base64')
    this.#pair = createECDH('prime256v1')
    return this.#pair.generateKeys('base64')
  }

  /** Says hello with a fresh key; resolves with the answer's payload. */
  async hello(encryption_public_key = this.publicKey()): Promise<Record<string, unknown>> {
    const features = { encryption: true }
    this.connection.send({ t: 'client_hello', p: { features, encryption_public_key } })
    return (await this.next('server_hello')).envelope.p
  }

  /** Sends an envelope under the key of the connection. */
  sendSealed(envelope: object): void {
    if (this.key === null) throw new Error('there is no key')
    this.connection.send(seal(this.key, JSON.stringify(envelope)))
  }

  #hear(data: RawData, isBinary: boolean): void {
    const message = isBinary ? this.#open(data as Buffer) : readText(data as Buffer)
    const answers = ['server_hello', 'key_rotation_response', 'encryption_response']
    const { t = '', p = {} } = message.envelope ?? {}
    if (answers.includes(t) && typeof p.encryption_public_key === 'string' && this.#pair !== null) {
      this.key = commonKey(this.#pair, p.encryption_public_key)
      this.#pair = null
    }
    this.#messages.push(message)
  }

  #open(data: Buffer): Message {
    const body = data.subarray(2)
    switch (data.toString('latin1', 0, 2)) {
      case 'C:':
        return of('zlib', inflateSync(body))
      case 'M:':
        return of('msgpack', Buffer.from(JSON.stringify(decode(body))))
      case 'E:':
        return of('sealed', this.#decrypt(body))
      default:
        return { carrier: 'bytes', envelope: null, bytes: data }
    }
  }

  #decrypt(body: Buffer): Buffer {
    if (this.key === null) throw new Error('sealed before there is a key')
    return unseal(this.key, body)
  }
}

/** A listener whose request has this query; one that asks for encryption has exchanged keys. */
export async function listen(
  t: ExecutionContext,
  server: Address,
  query = '',
  options: ConnectOptions = {},
): Promise<Listener> {
  const listener = new Listener(await connect(t, server, { path: `/wse?${query}`, ...options }))
  if (query.includes('encryption=true')) await listener.hello()
  return listener
}

function readText(data: Buffer): Message {
  const message = of('text', data)
  const { envelope } = message
  if (envelope?.cmp !== true) return message
  const { cmp, ...rest } = envelope
  const p = JSON.parse(inflateSync(Buffer.from(String(envelope.p), 'base64')).toString())
  return { carrier: 'payload', envelope: { ...rest, p }, bytes: data }
}

function of(carrier: Carrier, bytes: Buffer): Message {
  return { carrier, envelope: envelopeOf(bytes), bytes }
}

function envelopeOf(bytes: Buffer): Envelope | null {
  try {
    const value: unknown = JSON.parse(bytes.toString())
    return typeof value === 'object' && value !== null ? (value as Envelope) : null
  } catch {
    // No JSON is no envelope.
    return null
  }
}
