/**
 * Answers that only the application can give: who a connection is, and what a request is answered with.
 *
 * Checks what comes back; never lets a fault of the application open the door. Never decides when a handler is called.
 *
 * @module
 */
import { WseError } from './errors.js'
import type { RequestEvent } from './events.js'
import type { RequestHandler } from './inbound.js'
import { adding, isObject, objectText } from './json.js'
import type { Log } from './log.js'
import type { AuthenticateRequest, ServerOptions } from './options.js'
import type { OutboundEvent } from './types.js'

/** Who it is: the application's answer, checked, its claims as JSON. */
export interface Decided {
  readonly userId: string
  readonly claims: string
}

/** Asks the application; null refuses. It never rejects. */
export type Authenticate = (request: AuthenticateRequest) => Promise<Decided | null>

/** The application's hook with its answer checked: one that fails refuses, and the log is told. */
export function authenticating(hook: NonNullable<ServerOptions['authenticate']>, log: Log): Authenticate {
  return async (request) => {
    try {
      const identity = await hook(request)
      if (identity === null || identity === undefined) return null
      const { userId, claims = {} } = identity
      if (typeof userId !== 'string' || userId === '' || typeof claims !== 'object' || Array.isArray(claims)) {
        throw new WseError('WSE_IDENTITY_INVALID', 'authenticate resolves to { userId, claims } or to null')
      }
      const exp: unknown = claims?.exp ?? 0
      if (typeof exp !== 'number' || !Number.isFinite(exp)) {
        throw new WseError('WSE_IDENTITY_INVALID', 'claims.exp is a number, seconds since 1970')
      }
      return { userId, claims: objectText(claims ?? {}, 'WSE_IDENTITY_INVALID', 'claims: expected an object') }
    } catch (err) {
      const code = err instanceof WseError ? err.code : 'HANDLER_ERROR'
      log.fault('WseAuthenticateWarning', 'authenticate failed', { code, callback: 'authenticate', err })
      return null
    }
  }
}

/** Types that are the transport's: a connection would not work without the engine's own answers. */
const TRANSPORT = new Set([
  'client_hello',
  'ping',
  'PING',
  'pong',
  'PONG',
  'heartbeat',
  'auth_refresh',
  'subscription_update',
  'subscription',
  'encryption_request',
  'key_rotation_request',
])
/** The longest name that a client may give its request and find in the answer, in bytes. */
const LONGEST_CID = 64

/** What handlers need of their engine. */
export interface Correspondence {
  /** Sends an event to a connection, if it is still there. */
  readonly send: (connId: string, event: OutboundEvent) => void
  /** Hands messages of a type over as requests, or no more. */
  readonly take: (type: string, isHandled: boolean) => void
}

/** The handlers of one server, by type of message. */
export class Handlers {
  readonly #byType = new Map<string, RequestHandler>()
  readonly #log: Log
  readonly #engine: Correspondence

  constructor(log: Log, engine: Correspondence) {
    this.#log = log
    this.#engine = engine
  }

  get isEmpty(): boolean {
    return this.#byType.size === 0
  }

  /** See `handle` of the server. */
  set(type: string, handler: RequestHandler | null): void {
    if (typeof type !== 'string' || type === '') {
      throw new WseError('WSE_OPTION_INVALID', 'type: expected the type of a message')
    }
    if (TRANSPORT.has(type)) {
      throw new WseError('WSE_OPTION_INVALID', `type ${type}: belongs to the transport, which the engine serves`)
    }
    if (handler !== null && typeof handler !== 'function') {
      throw new WseError('WSE_OPTION_INVALID', `handler of ${type}: expected a function or null`)
    }
    if (handler) this.#byType.set(type, handler)
    else this.#byType.delete(type)
    this.#engine.take(type, handler !== null)
  }

  /** Calls the handler of a request and sends what it returns; a promise is to be waited for, and {@link fail} told. */
  answer(event: RequestEvent): Promise<void> | undefined {
    const { connId, userId, data: message } = event
    const handler = this.#byType.get(message.t)
    if (!handler) {
      // It was given back since the message arrived. Neither the engine nor anybody else has seen it.
      this.#refuse(event)
      return undefined
    }
    const cid = cidOf(event)
    const payload = isObject(message.p) ? message.p : {}
    const request = { connId, userId, type: message.t, payload, message, ...(cid !== undefined && { cid }) }
    const answer = handler(request)
    if (isThenable(answer)) return Promise.resolve(answer).then((late) => this.#reply(event, late))
    this.#reply(event, answer)
    return undefined
  }

  /** Tells the log of a handler that failed, and the client that it gets no answer, but nothing of the fault. */
  fail(event: RequestEvent, err: unknown): void {
    this.#tell(event, err)
    this.#refuse(event)
  }

  #tell({ connId, data }: RequestEvent, err: unknown): void {
    const callback = `handle('${data.t}')`
    const fields = { code: 'HANDLER_ERROR', callback, conn_id: connId, err }
    this.#log.fault('WseHandlerWarning', `${callback} failed for connection ${connId}`, fields)
  }

  #reply(event: RequestEvent, answer: Awaited<ReturnType<RequestHandler>>): void {
    if (answer === undefined || answer === null) return
    if (!isObject(answer)) throw new WseError('WSE_MESSAGE_INVALID', 'a handler returns an event, or nothing')
    const cid = answer.cid ?? cidOf(event)
    this.#engine.send(event.connId, cid === undefined ? answer : adding(answer, { cid }))
  }

  #refuse(event: RequestEvent): void {
    const p = {
      code: 'HANDLER_ERROR',
      message: 'the request could not be answered',
      details: { type: event.data.t },
      recoverable: true,
      severity: 'error',
      timestamp: new Date().toISOString(),
    }
    try {
      this.#reply(event, { t: 'error', p })
    } catch (err) {
      // Where messages may be smaller than this one.
      this.#tell(event, err)
    }
  }
}

/** What the client calls its request, where it may be repeated. */
function cidOf({ data: { cid } }: RequestEvent): string | number | undefined {
  const isFit = typeof cid === 'number' || (typeof cid === 'string' && Buffer.byteLength(cid) <= LONGEST_CID)
  return isFit ? cid : undefined
}

/** Whether a callback or handler has to be waited for: promises of the language, and everybody else's. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
}
