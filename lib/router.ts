/**
 * Router mode: takes over the upgrades of an existing HTTP server, and releases them on close.
 *
 * Reads nothing of the WebSocket: it hands the socket's descriptor to the engine together with every byte that
 * the client sent early, and forgets it. A socket without one is handed to the stream path.
 *
 * @module
 */
import type { Server as HttpServer, IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { WseError } from './errors.js'
import type { Authenticate, Decided } from './handlers.js'
import type { AttachOptions, AuthenticateRequest } from './options.js'
import { ensureKnown } from './schema.js'
import { finish } from './streams.js'
import type { HealthSnapshot } from './types.js'

/** What the router needs of its engine. */
export interface Engine {
  readonly path: string
  readonly handshakeTimeoutMs: number
  readonly maxHandshakes: number
  readonly trustProxy: number
  readonly authenticate: Authenticate | undefined
  /** Takes a duplicate of the descriptor, with what was read. `undefined`: nothing is decided. */
  readonly adopt: (descriptor: number, head: Buffer, identity: Decided | null | undefined) => void
  /** What to do before the application is asked: 0 ask, below hand over at once, above refuse with so many seconds. */
  readonly knock: (head: Buffer) => number
  /** So many wait that the oldest is refused. */
  readonly onCrowd: () => void
  /** Takes a socket that JavaScript reads and writes. False: there is no place for it. */
  readonly carry: (
    socket: Duplex,
    head: Buffer,
    address: string | undefined,
    identity: Decided | null | undefined,
  ) => boolean
  /** The host closes: connections whose sockets it still has must end, or it never would. */
  readonly onHostClose: () => void
  /** `isReady`: newcomers are served; what runs may still have to get ready. */
  readonly health: () => { isRunning: boolean; isReady: boolean; snapshot: HealthSnapshot }
}

/** The part of Node.js's TCP handle that the hand-over needs. */
interface TcpHandle {
  readonly fd: number
  readStop(): void
}

/** All engines on one HTTP server: one entrance, so that the last one to leave gives the server back as it was. */
class Entrance {
  static readonly #entrances = new WeakMap<HttpServer, Entrance>()
  readonly #host: HttpServer
  readonly #emit: HttpServer['emit']
  readonly #close: HttpServer['close']
  readonly #routers = new Map<string, Router>()
  #isClosing = false

  static of(host: HttpServer): Entrance {
    const entrance = Entrance.#entrances.get(host) ?? new Entrance(host)
    Entrance.#entrances.set(host, entrance)
    return entrance
  }

  private constructor(host: HttpServer) {
    this.#host = host
    this.#emit = host.emit
    // Request listeners that the host adds later are behind this too, so that nothing is answered twice.
    host.emit = this.#emitOwn
    this.#close = host.close
    host.close = this.#closeOwn
  }

  add(path: string, router: Router): void {
    if (this.#routers.has(path)) {
      throw new WseError('WSE_PATH_TAKEN', `another server is attached at ${path}: give one of them another path`)
    }
    if (this.#routers.size === 0) this.#host.on('upgrade', this.#upgrade)
    this.#routers.set(path, router)
  }

  remove(path: string): void {
    this.#routers.delete(path)
    if (this.#routers.size > 0) return
    this.#host.off('upgrade', this.#upgrade)
    // Somebody else may stand around ours by now; then it stays, lets everything through, and serves again.
    if (this.#host.emit !== this.#emitOwn || this.#host.close !== this.#closeOwn) return
    restore(this.#host, 'emit', this.#emit)
    restore(this.#host, 'close', this.#close)
    Entrance.#entrances.delete(this.#host)
  }

  readonly #emitOwn = ((event: string, ...args: unknown[]) => {
    if (event === 'listening') this.#isClosing = false
    if (event === 'request' && this.#answer(args[0] as IncomingMessage, args[1] as ServerResponse)) return true
    // Before any listener: many answer every upgrade, or end after a while those that they do not know.
    if (event === 'upgrade' && this.#take(args[0] as IncomingMessage, args[1] as Duplex, args[2] as Buffer)) return true
    return Reflect.apply(this.#emit, this.#host, [event, ...args])
  }) as HttpServer['emit']

  /** The host takes no new connections, and waits for those that it has. */
  get isClosing(): boolean {
    return this.#isClosing
  }

  readonly #closeOwn = ((...args: unknown[]) => {
    this.#isClosing = true
    for (const router of this.#routers.values()) router.hostCloses()
    return Reflect.apply(this.#close, this.#host, args)
  }) as HttpServer['close']

  /** Node.js asks whether anybody listens; and a host may have bound its own `emit` before ours was there. */
  readonly #upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    if (this.#take(request, socket, head)) return
    // The host's own listeners know what to do with other paths; without any, nobody else answers.
    if (this.#host.listenerCount('upgrade') === 1) refuse(socket, '404 Not Found')
  }

  #take(request: IncomingMessage, socket: Duplex, head: Buffer): boolean {
    const router = this.#routers.get(pathOf(request))
    router?.upgrade(request, socket, head)
    return router !== undefined
  }

  #answer(request: IncomingMessage, response: ServerResponse): boolean {
    if (request.method !== 'GET') return false
    const [, base, page] = /^(.*)\/(health|ready)$/.exec(pathOf(request)) ?? []
    // The pages of the path `/` are `/health` and `/ready`.
    const router = base === undefined ? undefined : this.#routers.get(base || '/')
    router?.answer(page as 'health' | 'ready', response)
    return router !== undefined
  }
}

/** One engine on one HTTP server. */
export class Router {
  readonly #engine: Engine
  readonly #entrance: Entrance
  readonly #via: AttachOptions['via']
  /** Sockets that wait, for the application's word or an earlier answer, and what ends the wait. */
  readonly #waiting = new Map<Duplex, NodeJS.Timeout | undefined>()

  constructor(host: HttpServer, engine: Engine, options: AttachOptions) {
    ensureKnown(options, 'attach', ['via'])
    const { via = 'auto' } = options
    if (via !== 'auto' && via !== 'stream') {
      throw new WseError('WSE_OPTION_INVALID', "option via: expected 'auto' or 'stream'")
    }
    // An application of Express is a function and one of Koa cannot be closed: what has the port is something else.
    if (typeof host !== 'object' || !host || !('emit' in host && 'listen' in host && 'close' in host)) {
      throw new WseError(
        'WSE_ATTACH_UNSUPPORTED',
        'expected the HTTP server, not the application: what createServer() or app.listen() returns, app.server of Fastify, app.getHttpServer() of Nest',
      )
    }
    this.#via = via
    this.#engine = engine
    this.#entrance = Entrance.of(host)
    this.#entrance.add(engine.path, this)
  }

  /** Gives the path back and refuses who waits. Connections that were handed over live on. */
  detach(): void {
    this.#entrance.remove(this.#engine.path)
    this.#refuseWaiting(() => true)
  }

  /** The host closes: whoever it has to wait for is told to go. */
  hostCloses(): void {
    this.#refuseWaiting((socket) => this.#descriptorOf(socket) === undefined)
    this.#engine.onHostClose()
  }

  #refuseWaiting(isMeant: (socket: Duplex) => boolean): void {
    for (const socket of [...this.#waiting.keys()].filter(isMeant)) this.#turnAway(socket)
  }

  #turnAway(socket: Duplex): void {
    this.#resume(socket)
    refuse(socket, '503 Service Unavailable')
  }

  #descriptorOf(socket: Duplex): TcpHandle | undefined {
    return this.#via === 'auto' ? descriptorOf(socket) : undefined
  }

  /** Takes a socket that asks for this engine's path. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => socket.destroy())
    socket.once('close', () => this.#resume(socket))
    const { authenticate, knock } = this.#engine
    const word = authenticate ? knock(headOf(request)) : -1
    if (word > 0) refuse(socket, '503 Service Unavailable', word)
    else if (authenticate && word === 0) void this.#ask(authenticate, request, socket, head)
    else this.#handOver(request, socket, head, undefined)
  }

  /** Answers `{path}/health` or `{path}/ready`. */
  answer(page: 'health' | 'ready', response: ServerResponse): void {
    const { isRunning, isReady, snapshot } = this.#engine.health()
    const [isGood, body] = page === 'ready' ? [isReady, { ready: isReady }] : [isRunning, snapshot]
    response.writeHead(isGood ? 200 : 503, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }

  /** The application's word, or a refusal when the handshake time is over before it comes. */
  async #ask(authenticate: Authenticate, request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const identity = await new Promise<Decided | null>((resolve) => {
      this.#wait(socket, () => resolve(null))
      void authenticate(this.#describe(request)).then(resolve)
    })
    if (this.#resume(socket)) this.#handOver(request, socket, head, identity)
  }

  /** Lets the socket wait for the handshake time at most; where too many do, the oldest gives way. */
  #wait(socket: Duplex, onLate: () => void): void {
    const { handshakeTimeoutMs, maxHandshakes, onCrowd } = this.#engine
    const [oldest] = this.#waiting.keys()
    if (oldest && maxHandshakes > 0 && this.#waiting.size >= maxHandshakes) {
      this.#turnAway(oldest)
      onCrowd()
    }
    this.#waiting.set(socket, handshakeTimeoutMs > 0 ? setTimeout(onLate, handshakeTimeoutMs) : undefined)
  }

  /** Ends the wait. False: it was over, the socket closed or refused. */
  #resume(socket: Duplex): boolean {
    clearTimeout(this.#waiting.get(socket))
    return this.#waiting.delete(socket)
  }

  #handOver(request: IncomingMessage, socket: Duplex, head: Buffer, identity: Decided | null | undefined): void {
    // Ended by whoever else has it: then it has its answer.
    if (!socket.writable) return
    const handle = this.#descriptorOf(socket)
    if (!handle) {
      this.#carry(request, socket, head, identity)
      return
    }
    if (socket.writableLength > 0) {
      // An answer to an earlier request is still leaving. What is written now comes after all of it; `drain`
      // never comes when the rest was small.
      this.#wait(socket, () => socket.destroy())
      socket.write('', () => {
        if (this.#resume(socket)) this.#handOver(request, socket, head, identity)
      })
      return
    }
    ;(socket as Socket).setTimeout(0)
    handle.readStop()
    const early = [headOf(request), head]
    for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read()) early.push(chunk)
    try {
      this.#engine.adopt(handle.fd, Buffer.concat(early), identity)
    } catch {
      // The engine is closing, or out of descriptors.
      refuse(socket, '503 Service Unavailable')
      return
    }
    // Closes this side's descriptor without shutdown(2): the connection lives on in the engine.
    socket.destroy()
  }

  /** The stream path. What is still leaving goes before ours by itself. */
  #carry(request: IncomingMessage, socket: Duplex, head: Buffer, identity: Decided | null | undefined): void {
    if (socket instanceof Socket) socket.setTimeout(0)
    const address = request.socket.remoteAddress
    const isTaken =
      !this.#entrance.isClosing && this.#engine.carry(socket, Buffer.concat([headOf(request), head]), address, identity)
    if (!isTaken) refuse(socket, '503 Service Unavailable')
  }

  #describe(request: IncomingMessage): AuthenticateRequest {
    const entries = Object.entries(request.headers)
    const headers = Object.fromEntries(entries.map(([name, value]) => [name, [value].flat().join(', ')]))
    const hops = (headers['x-forwarded-for'] ?? '').split(',').map((hop) => hop.trim())
    const { trustProxy } = this.#engine
    const forwarded = trustProxy > 0 ? hops.at(-trustProxy) : undefined
    return { headers, url: request.url ?? '/', remoteAddress: forwarded || (request.socket.remoteAddress ?? '') }
  }
}

const pathOf = (request: IncomingMessage): string => (request.url ?? '').split('?', 1)[0] as string

/** Takes our function off a host. One that came from its class is not left behind as its own. */
function restore<K extends 'emit' | 'close'>(host: HttpServer, name: K, original: HttpServer[K]): void {
  Reflect.deleteProperty(host, name)
  if (host[name] !== original) host[name] = original
}

/** What the hand-over needs, where there is a descriptor of a plain connection: TLS and pipes have other handles. */
function descriptorOf(socket: Duplex): TcpHandle | undefined {
  const handle = socket instanceof Socket ? (socket as unknown as { _handle: TcpHandle | null })._handle : null
  return handle?.constructor.name === 'TCP' && handle.fd >= 0 ? handle : undefined
}

/** The request's head as it was on the wire, for the engine, which reads it like its own. */
function headOf({ method, url, httpVersion, rawHeaders }: IncomingMessage): Buffer {
  const lines = [`${method} ${url} HTTP/${httpVersion}`]
  for (let n = 0; n < rawHeaders.length; n += 2) lines.push(`${rawHeaders[n]}: ${rawHeaders[n + 1]}`)
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
}

/** When to come back who is refused while something ends, in seconds: as the engine says it. */
const RETRY_AFTER = 5

function refuse(socket: Duplex, status: string, retryAfter = RETRY_AFTER): void {
  if (socket.destroyed) return
  // A client that has gone meanwhile is no fault of the host's.
  socket.on('error', () => socket.destroy())
  const again = status.startsWith('503') ? `Retry-After: ${retryAfter}\r\n` : ''
  socket.write(`HTTP/1.1 ${status}\r\nConnection: close\r\n${again}Content-Length: 0\r\n\r\n`)
  finish(socket)
}
