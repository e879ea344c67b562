/**
 * The stream path: sockets that JavaScript reads and writes, while the engine speaks the protocol.
 *
 * Carries bytes and knows nothing of frames. For sockets without a descriptor to hand over: TLS, pipes, Windows, and
 * runtimes that show none.
 *
 * @module
 */
import type { Duplex } from 'node:stream'
import { translated } from './errors.js'
import type { Decided } from './handlers.js'
import { native } from './native.js'
import { LONGEST_MS } from './timers.js'

/** Words of a row of a turn's table, see `turnStreams` in the addon. */
const ROW = 5
/** What a row asks for behind its bytes. */
const RESUME = 1
const END = 2
const CLOSE = 3
/** No turn is due. */
const NEVER = 0xffff_ffff
/** Turns are taken without a break for this long, so that a publisher that never rests does not run away from them. */
const SLICE_MS = 5
/** How long a socket that is to close may take to pass on what it was given. */
const LINGER_MS = 2_000

/** The sockets that one engine has on this path. */
export class Streams {
  readonly #handle: number
  readonly #sockets = new Map<number, Duplex>()
  #immediate: NodeJS.Immediate | undefined
  #timer: NodeJS.Timeout | undefined
  /** Whether the engine has a shard here, which takes part in its closing also when no socket is left. */
  #isUsed = false
  #isOver = false

  constructor(handle: number) {
    this.#handle = handle
  }

  /** Takes a socket over with what was read of it. False: the engine has no place for it. */
  open(socket: Duplex, head: Buffer, address: string | undefined, identity: Decided | null | undefined): boolean {
    this.#isUsed = true
    const isDecided = identity !== undefined
    const { userId, claims } = identity ?? {}
    const stream = translated(() => native.openStream(this.#handle, address, head, isDecided, userId, claims))
    this.#schedule()
    if (stream === null) return false
    this.#sockets.set(stream, socket)
    socket.on('data', (chunk: Buffer) => {
      if (!this.#tell(() => native.streamArrived(this.#handle, stream, chunk))) socket.pause()
    })
    socket.on('drain', () => this.#tell(() => native.streamDrained(this.#handle, stream)))
    socket.on('end', () => this.#tell(() => native.streamEnded(this.#handle, stream)))
    socket.on('close', () => {
      this.#sockets.delete(stream)
      this.#tell(() => native.streamGone(this.#handle, stream))
    })
    socket.resume()
    return true
  }

  /** The engine has something to do here. */
  wake(): void {
    if (this.#isUsed && !this.#isOver) this.#turns()
  }

  /** Tells every connection on this path that the server restarts, and ends it. */
  disconnect(): void {
    if (!this.#isOver) translated(() => native.disconnectStreams(this.#handle))
  }

  /** The engine is closed: no turn is taken any more. */
  close(): void {
    this.#isOver = true
    clearImmediate(this.#immediate)
    clearTimeout(this.#timer)
    for (const socket of this.#sockets.values()) finish(socket)
  }

  #tell<T>(call: () => T): T | undefined {
    if (this.#isOver) return undefined
    this.#schedule()
    return translated(call)
  }

  /** One turn for everything that arrives in this round of the event loop. */
  #schedule(): void {
    this.#immediate ??= setImmediate(this.#turns)
  }

  readonly #turns = (): void => {
    clearImmediate(this.#immediate)
    clearTimeout(this.#timer)
    this.#immediate = undefined
    this.#timer = undefined
    const began = performance.now()
    let due = this.#turn()
    while (due === 0 && performance.now() - began < SLICE_MS) due = this.#turn()
    if (due === 0) this.#schedule()
    else if (due !== NEVER) this.#timer = setTimeout(this.#turns, Math.min(due, LONGEST_MS)).unref()
  }

  /** Takes a turn; when the next one is due, in milliseconds. */
  #turn(): number {
    const [table, ...chunks] = translated(() => native.turnStreams(this.#handle))
    if (!table) return NEVER
    for (let at = 4; at < table.length; at += 4 * ROW) {
      const word = (n: number): number => table.readUInt32LE(at + 4 * n)
      this.#carryOut(word(0), chunks[word(1)]?.subarray(word(2), word(3)), word(4))
    }
    return table.readUInt32LE(0)
  }

  #carryOut(stream: number, bytes: Buffer | undefined, next: number): void {
    const socket = this.#sockets.get(stream)
    if (!socket) return
    try {
      this.#pass(stream, socket, bytes, next)
    } catch (cause) {
      // A host's own kind of stream may throw. It ends alone: the rest of the turn belongs to others.
      socket.destroy(cause as Error)
    }
  }

  #pass(stream: number, socket: Duplex, bytes: Buffer | undefined, next: number): void {
    if (bytes && bytes.length > 0) {
      // What surely waits is copied: a slice would keep its whole chunk from being freed.
      const isFree = socket.write(socket.writableLength > 0 ? Uint8Array.prototype.slice.call(bytes) : bytes)
      if (!isFree) translated(() => native.streamBlocked(this.#handle, stream))
    }
    if (next === RESUME) socket.resume()
    else if (next === END) socket.end()
    // Who is still blocked when the engine has given up on it will take nothing more.
    else if (next === CLOSE && socket.writableNeedDrain) socket.destroy()
    else if (next === CLOSE) finish(socket)
  }
}

/** Closes a socket once everything that it was given has left, or after two seconds. */
export function finish(socket: Duplex): void {
  if (socket.writableFinished || socket.destroyed) {
    socket.destroy()
    return
  }
  const late = setTimeout(() => socket.destroy(), LINGER_MS).unref()
  socket.once('finish', () => socket.destroy())
  socket.once('close', () => clearTimeout(late))
  socket.end()
}
