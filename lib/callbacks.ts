/**
 * Callbacks and handlers: every event goes to the function that wants its type.
 *
 * Owns the order: those of one connection follow each other, those of different connections do not wait for each
 * other, and all together are bounded. A connection that is far ahead of them is not read meanwhile. A fault of one is
 * told to the log and touches nothing else.
 *
 * @module
 */
import { setImmediate as turn } from 'node:timers/promises'
import type { Drain, Listener } from './drain.js'
import { WseError } from './errors.js'
import { type Incoming, weightOf } from './events.js'
import { type Handlers, isThenable } from './handlers.js'
import type { CallbackOptions, Callbacks, InboundEvent } from './inbound.js'
import type { Log } from './log.js'
import { ensureKnown } from './schema.js'

/** Which callback wants which events. */
const NAMES = {
  connect: 'onConnect',
  auth_connect: 'onConnect',
  msg: 'onMessage',
  raw: 'onRaw',
  bin: 'onBinary',
  disconnect: 'onDisconnect',
  presence_join: 'onPresenceJoin',
  presence_leave: 'onPresenceLeave',
} as const satisfies Record<InboundEvent['type'], keyof Callbacks>

/** Callbacks that run at once, unless the application says another number. */
const CONCURRENCY = 1_024
/** Events of one connection that wait behind its callback before it is read no more. */
const ENOUGH = 32
/** What an event weighs beside its content, in bytes. */
const OVERHEAD = 256
/** How long callbacks may follow each other within one turn of the event loop, in milliseconds. */
const SLICE_MS = 5

/** What may wait for the application, in bytes; zero: no limit. */
export interface InboundLimits {
  readonly maxBytes: number
  readonly maxBytesPerConnection: number
}

/** Stops reading a connection, or goes on. */
export type HoldBack = (connId: string, isHeld: boolean) => void

/** What waits behind a callback of one connection. */
interface Queue {
  readonly events: Incoming[]
  bytes: number
  /** Whether its connection is not read. */
  isHeld: boolean
}

type Callback = (event: InboundEvent) => unknown

/** Callbacks by type of event, and their options, all checked. */
interface Generation {
  readonly callbacks: Partial<Record<InboundEvent['type'], Callback>>
  readonly isInOrder: boolean
  readonly concurrency: number
}

/** Hands the events of one server to its application's callbacks, and requests to its handlers. */
export class Dispatcher implements Listener {
  readonly #drain: Drain
  readonly #handlers: Handlers
  readonly #log: Log
  #current: Generation = { callbacks: {}, isInOrder: true, concurrency: CONCURRENCY }
  /** What waits behind a callback that is not finished, by connection. */
  readonly #queues = new Map<string, Queue>()
  readonly #holdBack: HoldBack
  readonly #limits: InboundLimits
  #running = 0
  /** Of all events that are not finished. */
  #bytes = 0

  constructor(drain: Drain, handlers: Handlers, log: Log, limits: InboundLimits, holdBack: HoldBack) {
    this.#drain = drain
    this.#handlers = handlers
    this.#log = log
    this.#limits = limits
    this.#holdBack = holdBack
    drain.serve(this)
  }

  /** See `setCallbacks` of the server. */
  set(callbacks: Callbacks | null, options: CallbackOptions): void {
    ensureKnown(options, 'setCallbacks', ['inOrder', 'concurrency'])
    const next = callbacks === null ? undefined : generation(callbacks, options)
    this.#drain.listen(next && this)
    // Without new ones, what was handed out before is finished by those that it was handed to.
    this.#current = next ?? this.#current
    this.#drain.resume()
  }

  hasRoom(): boolean {
    return (
      this.#running < this.#current.concurrency && this.#bytes < (this.#limits.maxBytes || Number.POSITIVE_INFINITY)
    )
  }

  hand(event: Incoming): void {
    if (this.#queues.size > 0 && this.#isInOrder(event)) {
      const queue = this.#queues.get(event.connId)
      if (queue) {
        this.#wait(event, queue)
        return
      }
    }
    const running = this.#call(event)
    if (running) this.#follow(event, running)
  }

  /** Whether an event waits for those before it. Requests always do: their answers are in order. */
  #isInOrder(event: Incoming): boolean {
    return this.#current.isInOrder || event.type === 'request'
  }

  /** Calls what wants the event; what it returns if that is to be waited for. */
  #call(event: Incoming): Promise<unknown> | undefined {
    try {
      const isRequest = event.type === 'request'
      const result = isRequest ? this.#handlers.answer(event) : this.#current.callbacks[event.type]?.(event)
      return isThenable(result) ? Promise.resolve(result) : undefined
    } catch (cause) {
      this.#fault(event, cause)
      return undefined
    }
  }

  #wait(event: Incoming, queue: Queue): void {
    const weight = weigh(event)
    this.#bytes += weight
    queue.bytes += weight
    const most = this.#limits.maxBytesPerConnection || Number.POSITIVE_INFINITY
    const isEnough = queue.events.push(event) >= ENOUGH || queue.bytes >= most
    if (!isEnough || queue.isHeld) return
    queue.isHeld = true
    this.#holdBack(event.connId, true)
  }

  #follow(event: Incoming, running: Promise<unknown>): void {
    this.#running += 1
    this.#bytes += weigh(event)
    const queue: Queue = { events: [], bytes: 0, isHeld: false }
    if (this.#isInOrder(event)) this.#queues.set(event.connId, queue)
    void this.#finish(event, running, queue)
  }

  /** Sees a callback to its end, and then those that wait behind it. Never rejects. */
  async #finish(first: Incoming, running: Promise<unknown>, queue: Queue): Promise<void> {
    let began = performance.now()
    let call: Promise<unknown> | undefined = running
    for (let event: Incoming | undefined = first; event; event = this.#next(queue, first.connId)) {
      if (event !== first) call = this.#call(event)
      try {
        await call
      } catch (cause) {
        this.#fault(event, cause)
      }
      const weight = weigh(event)
      this.#regain(() => {
        this.#bytes -= weight
      })
      if (queue.events.length > 0 && performance.now() - began >= SLICE_MS) {
        await turn()
        began = performance.now()
      }
    }
    if (this.#queues.get(first.connId) === queue) this.#queues.delete(first.connId)
    this.#regain(() => {
      this.#running -= 1
    })
  }

  #next(queue: Queue, connId: string): Incoming | undefined {
    const event = queue.events.shift()
    if (event) queue.bytes -= weigh(event)
    if (queue.isHeld && queue.events.length === 0) {
      queue.isHeld = false
      this.#holdBack(connId, false)
    }
    return event
  }

  /** Whoever had no room before `change` and has it then goes on. */
  #regain(change: () => void): void {
    const hadRoom = this.hasRoom()
    change()
    if (!hadRoom && this.hasRoom()) this.#drain.resume()
  }

  #fault(event: Incoming, err: unknown): void {
    if (event.type === 'request') {
      this.#handlers.fail(event, err)
      return
    }
    const callback = NAMES[event.type]
    const message = `${callback} failed for connection ${event.connId}`
    const fields = { code: 'HANDLER_ERROR', callback, conn_id: event.connId, err }
    this.#log.fault('WseCallbackWarning', message, fields)
  }
}

const weigh = (event: Incoming): number => weightOf(event) + OVERHEAD

function generation(callbacks: Callbacks, { inOrder = true, concurrency = CONCURRENCY }: CallbackOptions): Generation {
  if (typeof callbacks !== 'object') throw new WseError('WSE_OPTION_INVALID', 'callbacks: expected an object or null')
  const known: string[] = Object.values(NAMES)
  for (const [name, callback] of Object.entries(callbacks)) {
    if (!known.includes(name)) {
      const names = [...new Set(known)].join(', ')
      throw new WseError('WSE_OPTION_UNKNOWN', `callback ${name} is unknown; known are ${names}`)
    }
    if (callback !== null && callback !== undefined && typeof callback !== 'function') {
      throw new WseError('WSE_OPTION_INVALID', `callback ${name}: expected a function`)
    }
  }
  if (typeof inOrder !== 'boolean') throw new WseError('WSE_OPTION_INVALID', 'inOrder: expected true or false')
  if (!Number.isSafeInteger(concurrency) || concurrency < 1) {
    throw new WseError('WSE_OPTION_INVALID', 'concurrency: expected a whole number from 1')
  }
  const byType = Object.entries(NAMES).map(([type, name]) => [type, callbacks[name] ?? undefined])
  return { callbacks: Object.fromEntries(byType), isInOrder: inOrder, concurrency }
}
