// Raw TCP sockets of tests: requests and frames written by hand, for input that no client library sends.
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { ExecutionContext } from 'ava'
import { Arrivals, within } from './arrivals.js'
import { type Envelope, typeOf } from './envelope.js'

/** Where the server of a test is reached, on 127.0.0.1 unless it has a socket in the file system. */
export interface Address {
  readonly port: number
  /** The certificate that a client is to trust; with it the server speaks TLS. */
  readonly ca?: string
  /** The file of a Unix domain socket. */
  readonly socketPath?: string
}

export const OP = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

export interface Frame {
  opcode: number
  fin: boolean
  /** The three reserved bits, as they stand in the first byte. */
  reserved: number
  payload: Buffer
}

export interface Head {
  status: number
  headers: Record<string, string>
}

export interface RequestOptions {
  method?: string
  path?: string
  version?: string
  /** Added to the usual headers; undefined leaves one of those out. */
  headers?: Record<string, string | undefined>
}

/** The bytes of an upgrade request. */
export function upgradeRequest({
  method = 'GET',
  path = '/wse',
  version = '1.1',
  headers = {},
}: RequestOptions = {}): string {
  const all: Record<string, string | undefined> = {
    Host: '127.0.0.1',
    Upgrade: 'websocket',
    Connection: 'Upgrade',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
    ...headers,
  }
  const lines = Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}\r\n`]))
  return `${method} ${path} HTTP/${version}\r\n${lines.join('')}\r\n`
}

export interface FrameOptions {
  fin?: boolean
  /** The three reserved bits, as they stand in the first byte. */
  reserved?: number
  masked?: boolean
  /** The length that the header claims, when it is not that of the payload. */
  claims?: bigint
}

/** The bytes of one client frame. */
export function frameBytes(opcode: number, payload: string | Uint8Array = '', options: FrameOptions = {}): Buffer {
  const { fin = true, reserved = 0, masked = true } = options
  const body = Buffer.from(payload as Uint8Array)
  const length = options.claims ?? BigInt(body.length)
  const first = Buffer.from([(fin ? 0x80 : 0) | reserved | opcode])
  const bit = masked ? 0x80 : 0
  let size: Buffer
  if (length < 126n) size = Buffer.from([bit | Number(length)])
  else if (length < 65_536n) size = Buffer.from([bit | 126, Number(length >> 8n), Number(length & 255n)])
  else {
    size = Buffer.alloc(9)
    size[0] = bit | 127
    size.writeBigUInt64BE(length, 1)
  }
  if (!masked) return Buffer.concat([first, size, body])
  const mask = randomBytes(4)
  for (let index = 0; index < body.length; index++) body[index] = (body[index] as number) ^ (mask[index & 3] as number)
  return Buffer.concat([first, size, mask, body])
}

export class RawSocket {
  readonly #frames = new Arrivals<Frame>()
  readonly #ended: Promise<void>
  readonly #head: Promise<Head>
  #received = Buffer.alloc(0)
  #onHead: (head: Head | Error) => void = () => {}
  #hasHead = false

  /** `carrier` is what `tcp` runs on when that is encrypted. */
  constructor(
    readonly tcp: Socket,
    readonly carrier: Socket = tcp,
  ) {
    this.#head = new Promise((resolve, reject) => {
      this.#onHead = (head) => (head instanceof Error ? reject(head) : resolve(head))
    })
    // Who never asks for the head does not care that it never came.
    this.#head.catch(() => {})
    this.#ended = new Promise((resolve) => tcp.on('close', () => resolve()))
    tcp.on('data', (chunk) => this.#read(chunk))
    // A reset is one of the ways in which the server may end a bad connection.
    tcp.on('error', () => {})
    tcp.on('close', () => {
      this.#onHead(new Error('ended before the head of an answer'))
      this.#frames.end('the socket closed')
    })
  }

  write(bytes: string | Uint8Array): void {
    this.tcp.write(bytes)
  }

  /** Disappears without a word: a reset, where there is one. */
  cut(): void {
    if (this.carrier.remoteFamily) this.carrier.resetAndDestroy()
    else this.carrier.destroy()
  }

  /** The status line and headers of the server's answer. */
  head(): Promise<Head> {
    return within(this.#head, 'the head of an answer')
  }

  /** Everything that came after the head and is no complete frame yet; the body, when the answer is no upgrade. */
  get rest(): Buffer {
    return this.#received
  }

  /** Frames that have arrived and were not taken. */
  get waiting(): readonly Frame[] {
    return this.#frames.waiting
  }

  next(opcode: number): Promise<Frame> {
    return this.#frames.next(`a frame with opcode ${opcode}`, (frame) => frame.opcode === opcode)
  }

  /** The next envelope of this type; earlier frames of other kinds stay. */
  async envelope(type: string): Promise<Envelope> {
    const isWanted = ({ opcode, payload }: Frame) => opcode === OP.text && typeOf(payload.toString()) === type
    const { payload } = await this.#frames.next(`envelope ${type}`, isWanted)
    return JSON.parse(payload.toString()) as Envelope
  }

  /** The code and reason of the server's Close frame. */
  async closeFrame(): Promise<{ code: number; reason: string }> {
    const { payload } = await this.next(OP.close)
    return { code: payload.readUInt16BE(0), reason: payload.toString('utf8', 2) }
  }

  /** Resolves when the socket is closed, whoever closed it and however. */
  ended(): Promise<void> {
    return within(this.#ended, 'the end of a socket')
  }

  #read(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk])
    if (!this.#hasHead) {
      const end = this.#received.indexOf('\r\n\r\n')
      if (end < 0) return
      const [statusLine = '', ...lines] = this.#received.toString('latin1', 0, end).split('\r\n')
      const headers = lines.map((line) => {
        const colon = line.indexOf(':')
        return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
      })
      this.#received = this.#received.subarray(end + 4)
      this.#hasHead = true
      const status = Number(statusLine.split(' ')[1])
      this.#isUpgraded = status === 101
      this.#onHead({ status, headers: Object.fromEntries(headers) as Record<string, string> })
    }
    while (this.#isUpgraded && this.#takeFrame()) {}
  }

  #isUpgraded = false

  #takeFrame(): boolean {
    const bytes = this.#received
    if (bytes.length < 2) return false
    const short = (bytes[1] as number) & 127
    const headLength = short === 126 ? 4 : short === 127 ? 10 : 2
    if (bytes.length < headLength) return false
    const length = short === 126 ? bytes.readUInt16BE(2) : short === 127 ? Number(bytes.readBigUInt64BE(2)) : short
    if (bytes.length < headLength + length) return false
    const first = bytes[0] as number
    this.#received = bytes.subarray(headLength + length)
    this.#frames.push({
      opcode: first & 15,
      fin: first > 127,
      reserved: first & 0x70,
      payload: bytes.subarray(headLength, headLength + length),
    })
    return true
  }
}

/** A connection to the server, encrypted where it speaks TLS; destroyed when the test is over. */
export async function openSocket(t: ExecutionContext, { port, ca, socketPath }: Address): Promise<RawSocket> {
  const host = '127.0.0.1'
  const tcp = socketPath ? connectTcp({ path: socketPath }) : connectTcp({ host, port, noDelay: true })
  t.teardown(() => tcp.destroy())
  const stream = ca ? connectTls({ socket: tcp, host, ca }) : tcp
  const socket = new RawSocket(stream, tcp)
  await within(once(stream, ca ? 'secureConnect' : 'connect'), 'a connection')
  return socket
}

/** A socket whose upgrade was accepted. */
export async function openUpgraded(
  t: ExecutionContext,
  server: Address,
  request: RequestOptions = {},
): Promise<RawSocket> {
  const socket = await openSocket(t, server)
  socket.write(upgradeRequest(request))
  const { status } = await socket.head()
  if (status !== 101) throw new Error(`answered with ${status}`)
  return socket
}
