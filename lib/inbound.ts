/**
 * What comes out of the engine, and who takes it: events, callbacks and requests, documented where an editor shows them.
 *
 * @module
 */
import type { JsonObject, OutboundEvent } from './types.js'

interface InboundEventBase {
  /** The connection's UUIDv7, the same as on the wire. */
  readonly connId: string
}

/** A connection without a user is open. */
export interface ConnectEvent extends InboundEventBase {
  readonly type: 'connect'
  /** The `Cookie` header as it came. */
  readonly cookies: string
  /** Headers, names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  /** Path and query. */
  readonly url: string
  /** The client's address. */
  readonly remoteAddress: string
}

/** A connection of a user is open. */
export interface AuthConnectEvent extends InboundEventBase {
  readonly type: 'auth_connect'
  /** The user: the token's `sub`, or what `authenticate` said. */
  readonly userId: string
  /** The token's claims, or what `authenticate` said. */
  readonly claims: JsonObject
}

/** A JSON object arrived that neither the engine nor a handler answers. */
export interface MessageEvent extends InboundEventBase {
  readonly type: 'msg'
  /**
   * The message, parsed when first touched. Where a client named a member at length (`type`, `payload`, …) and not in
   * short (`t`, `p`, …), it has the short name too, unless the server has `envelope: false`.
   */
  readonly data: JsonObject
  /** The message as it came, without the prefix (`WSE`, `S`, `U`) of an older client. */
  readonly text: string
}

/** Text arrived that is not a JSON object. */
export interface RawEvent extends InboundEventBase {
  readonly type: 'raw'
  readonly text: string
}

/** A binary message arrived. */
export interface BinaryEvent extends InboundEventBase {
  readonly type: 'bin'
  /** A view of the batch's buffer: copy what is to be kept for long. */
  readonly bytes: Uint8Array
}

/** A connection ended. */
export interface DisconnectEvent extends InboundEventBase {
  readonly type: 'disconnect'
  /** The close code of whoever closed first; 1006 when the connection was cut. */
  readonly code: number
  readonly reason: string
}

interface PresenceEventBase extends InboundEventBase {
  readonly topic: string
  readonly userId: string
  /** What the user is, or was last, present with. */
  readonly data: JsonObject
  /**
   * Of two events about one user in one topic the later one has the larger number, in whatever order they come out:
   * those of two connections may be on two threads.
   */
  readonly revision: number
}

/** A user's first connection with presence has come to a topic. */
export interface PresenceJoinEvent extends PresenceEventBase {
  readonly type: 'presence_join'
}

/** A user's last connection with presence has left a topic. */
export interface PresenceLeaveEvent extends PresenceEventBase {
  readonly type: 'presence_leave'
}

/** What comes out of the engine; each connection's events in order, beginning and end never lost. */
export type InboundEvent =
  | ConnectEvent
  | AuthConnectEvent
  | MessageEvent
  | RawEvent
  | BinaryEvent
  | DisconnectEvent
  | PresenceJoinEvent
  | PresenceLeaveEvent

/**
 * What the application wants to hear of; an absent one, or null, is not wanted.
 *
 * One that returns a promise is waited for, see {@link CallbackOptions}. What one throws, or rejects with, is told to
 * the log (`wse.error` with the code `HANDLER_ERROR`), or without a logger as a warning of the process.
 */
export interface Callbacks {
  /** A connection is open: with a user, when its type is `auth_connect`. */
  onConnect?: ((event: ConnectEvent | AuthConnectEvent) => unknown) | null | undefined
  /** A JSON object arrived. */
  onMessage?: ((event: MessageEvent) => unknown) | null | undefined
  /** Other text arrived. */
  onRaw?: ((event: RawEvent) => unknown) | null | undefined
  /** A binary message arrived. */
  onBinary?: ((event: BinaryEvent) => unknown) | null | undefined
  /** A connection ended. */
  onDisconnect?: ((event: DisconnectEvent) => unknown) | null | undefined
  /** A user's first connection with presence has come to a topic. */
  onPresenceJoin?: ((event: PresenceJoinEvent) => unknown) | null | undefined
  /** A user's last connection with presence has left a topic. */
  onPresenceLeave?: ((event: PresenceLeaveEvent) => unknown) | null | undefined
}

/** A message of a type that was taken over with `handle`. */
export interface InboundRequest {
  /** The connection's UUIDv7, the same as on the wire. */
  readonly connId: string
  /** The connection's user. Null: anonymous. */
  readonly userId: string | null
  /** The message's type, `t`. */
  readonly type: string
  /** Its payload, `p`; empty when it has none, or one that is no object. */
  readonly payload: JsonObject
  /** All of it. Members that were named at length have their short names too. */
  readonly message: JsonObject
  /** What the client calls this request: a number, or text of 64 bytes at most. The answer carries it too. */
  readonly cid?: string | number
}

/**
 * Answers requests of a type: what it returns is sent to the connection, an absent one means no answer.
 *
 * One that throws, or rejects, is told to the log (`wse.error` with the code `HANDLER_ERROR`), or without a logger as a
 * warning of the process; the client gets the error `HANDLER_ERROR`, which says nothing of the fault.
 */
export type RequestHandler = (
  request: InboundRequest,
  // biome-ignore lint/suspicious/noConfusingVoidType: functions that are declared to return nothing are handlers too.
) => OutboundEvent | null | undefined | void | Promise<OutboundEvent | null | undefined | void>

/** How callbacks that return promises are waited for. */
export interface CallbackOptions {
  /**
   * Whether an event waits until the promise of the one before it, of the same connection, is settled. Default:
   * true. Other connections do not wait for it.
   */
  inOrder?: boolean
  /**
   * Callbacks that run at once, in all. Beyond, nothing more is taken from the engine, and TCP slows the senders
   * down. A connection that is far ahead of its own callbacks is held back alone. Default: 1 024.
   */
  concurrency?: number
}
