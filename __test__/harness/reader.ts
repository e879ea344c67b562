// Clients by the hundred: raw TCP, one write for all that a client has to say at first, and no object for each frame.
import { connect as connectTcp, type Socket } from 'node:net'
import { within } from './arrivals.js'
import { frameBytes, OP, type RequestOptions, upgradeRequest } from './socket.js'

export interface ReaderOptions {
  request?: RequestOptions
  /** Texts that follow the request at once. */
  says?: readonly (string | object)[]
  /** Takes the payload of each text and binary frame; the bytes are its own only until it returns. */
  onMessage?: (payload: Buffer) => void
  /** The address that it comes from, for those who are more than one address has ports. */
  localAddress?: string
}

/** A client that reads as fast as it can. */
export class Reader {
  readonly tcp: Socket
  /** The code of the server's Close; undefined before there is one. */
  closeCode: number | undefined
  readonly #onMessage: (payload: Buffer) => void
  readonly #ended: Promise<void>
  #rest: Buffer | undefined
  #status = 0

  constructor(port: number, { request, says = [], onMessage = () => {}, localAddress }: ReaderOptions = {}) {
    this.#onMessage = onMessage
    this.tcp = connectTcp({ host: '127.0.0.1', port, noDelay: true, ...(localAddress && { localAddress }) })
    this.#ended = new Promise((resolve) => this.tcp.once('close', () => resolve()))
    // However it ends, the end is what is waited for.
    this.tcp.on('error', () => {})
    this.tcp.on('data', (chunk) => this.#read(chunk))
    this.tcp.write(Buffer.concat([Buffer.from(upgradeRequest(request)), ...says.map(frameOf)]))
  }

  /** The status of the answer to the upgrade; zero before there is one. */
  get status(): number {
    return this.#status
  }

  send(message: string | object): void {
    this.tcp.write(frameOf(message))
  }

  /** Breaks off: a reset, and nothing is read any more. */
  cut(): void {
    this.tcp.removeAllListeners('data')
    this.tcp.resetAndDestroy()
  }

  /** Resolves when the socket is closed, by whomever. */
  ended(): Promise<void> {
    return within(this.#ended, 'the end of a reader')
  }

  #read(chunk: Buffer): void {
    let bytes = this.#rest ? Buffer.concat([this.#rest, chunk]) : chunk
    if (this.#status === 0) {
      const end = bytes.indexOf('\r\n\r\n')
      if (end >= 0) {
        this.#status = Number(bytes.toString('latin1', 9, 12))
        bytes = bytes.subarray(end + 4)
      }
    }
    let at = 0
    while (this.#status === 101 && bytes.length >= at + 2) {
      const short = (bytes[at + 1] as number) & 127
      const head = at + (short === 126 ? 4 : short === 127 ? 10 : 2)
      if (bytes.length < head) break
      const length = short === 126 ? bytes.readUInt16BE(at + 2) : short === 127 ? bytes.readUInt32BE(at + 6) : short
      if (bytes.length < head + length) break
      const opcode = (bytes[at] as number) & 15
      at = head + length
      if (opcode === OP.close) {
        this.closeCode = bytes.readUInt16BE(head)
        this.tcp.write(frameBytes(OP.close, bytes.subarray(head, head + 2)))
      } else if (opcode === OP.text || opcode === OP.binary) this.#onMessage(bytes.subarray(head, at))
      else if (opcode === OP.ping) this.tcp.write(frameBytes(OP.pong, bytes.subarray(head, at)))
    }
    this.#rest = at < bytes.length ? bytes.subarray(at) : undefined
  }
}

function frameOf(message: string | object): Buffer {
  return frameBytes(OP.text, typeof message === 'string' ? message : JSON.stringify(message))
}

/** The request that subscribes to `topics`. */
export function subscribing(topics: readonly string[], more: object = {}): object {
  return { t: 'subscription_update', p: { action: 'subscribe', topics, ...more } }
}
