/**
 * Options and events, documented where an editor shows them.
 *
 * @module
 */

/** JSON object. */
// biome-ignore lint/suspicious/noExplicitAny: a message's shape is the application's to know.
export type JsonObject = Record<string, any>

/** An event to be sent: `t` is its type, `p` its payload; what an envelope needs besides is filled in. */
export interface OutboundEvent {
  /** The type, in snake case by convention. */
  t: string
  /** The payload, an object. Default: `{}`. */
  p?: JsonObject
  // biome-ignore lint/suspicious/noExplicitAny: with `unknown` no interface would fit, because it has no index.
  [member: string]: any
}

/** What the `authenticate` hook sees of a connection's request. */
export interface AuthenticateRequest {
  /** Headers, names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  /** Path and query. */
  readonly url: string
  /** The client's address; behind trusted proxies the one that they saw. */
  readonly remoteAddress: string
}

/** Whose request for topics the `authorize` hook decides. */
export interface AuthorizeConnection {
  readonly connId: string
  /** The user; null: anonymous. */
  readonly userId: string | null
  /** The token's claims, or what `authenticate` said; of an anonymous connection `{}`. */
  readonly claims: JsonObject
}

/** Who may have which topics beside their own, as globs (`*` any run, `?` one character). */
export interface TopicRules {
  /** Granted to every client that asks. Default: none. */
  allow?: readonly string[]
  /** Granted to nobody, not even by the application; wins over everything. Default: none. */
  deny?: readonly string[]
}

/** Who a connection belongs to. */
export interface Identity {
  /** The user id: owns the topics `user:{id}` and `user:{id}:…`. */
  userId: string
  /**
   * Anything else that is known; comes back in the event `auth_connect`. `exp`, seconds since 1970, ends the
   * connection as that of a token does. Default: `{}`.
   */
  claims?: JsonObject
}

/**
 * JSON Web Tokens, from the cookie, the `Authorization` header or the subprotocol `wse.token.<jwt>`: checked with one
 * of `secret`, `publicKey` and `jwks`.
 */
export interface JwtOptions {
  /** The secret of HS256, at least 32 bytes. */
  secret?: string
  /** The secret before, while tokens of both are about: tried when the signature or `kid` does not fit `secret`. */
  previousSecret?: string
  /** The public key of RS256 (2 048 bits or more) or ES256 in PEM, or a certificate, whose dates are not looked at. */
  publicKey?: string
  /**
   * The public keys of RS256 or ES256 as a JSON Web Key Set: a URL (https, except on this machine) or a file. Fetched
   * in the background, every ten minutes and when a token has an unknown `kid`, which waits for it; a file is read
   * again when it changes.
   */
  jwks?: string
  /** The only algorithm that is accepted. Default: `HS256`; to be named with `publicKey` and `jwks`. */
  algorithm?: 'HS256' | 'RS256' | 'ES256'
  /** The `kid` that tokens of `secret` or `publicKey` must have. Default: any, and none. */
  keyId?: string
  /** Required in `iss` and equal, when set. */
  issuer?: string
  /** Required in `aud` (a string or a list), when set. */
  audience?: string
  /** The cookie that carries the token. Default: `access_token`. */
  cookieName?: string
  /** Whether the query parameter `token` may carry one too; it ends up in the logs of proxies. Default: false. */
  queryParameter?: boolean
  /** Clock skew that `exp` and `nbf` are forgiven, in seconds. Default: 30. */
  leewaySeconds?: number
}

/** A key of signatures: a secret of at least 32 bytes that both sides have, and what they call it. */
export interface SigningKey {
  /** Which key it is: 1 to 64 bytes. */
  kid: string
  secret: string
}

/** Options of a server. Zero means off wherever a limit is a number; an unknown option is an error. */
export interface ServerOptions {
  /** The path of the upgrade. Default: `/wse`. */
  path?: string
  /** Tokens that say who connects. Not together with {@link ServerOptions.authenticate}. */
  jwt?: JwtOptions
  /** Says who connects, for services without JWT; null refuses with 4401. It has the handshake time. */
  authenticate?: (request: AuthenticateRequest) => Identity | null | Promise<Identity | null>
  /**
   * Whether a connection ends with its token (4401): told a minute before, it may send another (`auth_refresh`). True:
   * those of protocol version 2, because older clients would not come back; `all`: those too. Default: true.
   */
  tokenExpiry?: boolean | 'all'
  /** Origins that may connect, `*` for all. Default: any, but with credentials only the page's own host. */
  allowedOrigins?: readonly string[]
  /** Proxies that may append to `X-Forwarded-For`: how many, or true for one. Default: false. */
  trustProxy?: boolean | number
  /** Open connections in all; beyond: HTTP 503. Default: 10 000. */
  maxConnections?: number
  /**
   * Newcomers that are let in; beyond: HTTP 503 with `Retry-After`, before a token or a hook is looked at. Who is refused
   * for want of a login gives the place back. Default: all.
   */
  admission?: {
    /** So many a second, 1 000 000 at most; 0: off. Default: 0. */
    perSecond?: number
    /** So many at once, 1 000 000 at most; only with `perSecond`. Default: as many as a second. */
    burst?: number
  }
  /** Open connections of one user. Default: 5. */
  maxConnectionsPerUser?: number
  /** At that limit a connection of the user makes room (4403), or the new one is refused (4429). Default: `replace`. */
  connectionLimitPolicy?: 'replace' | 'refuse'
  /**
   * How long a connection is open at most, in milliseconds, give or take a tenth so that those who came together do not
   * go together. Then it is closed with 1012, after which clients come back. Default: 0, for ever.
   */
  maxConnectionAgeMs?: number
  /** Time for a handshake, in milliseconds. Default: 10 000. */
  handshakeTimeoutMs?: number
  /**
   * Unfinished handshakes; over it the oldest is dropped. On the port of a host those that wait for `authenticate` are
   * counted by themselves, and the oldest of them gets HTTP 503. Default: 4 096.
   */
  maxHandshakes?: number
  /** Unfinished handshakes of one address; over it its oldest is dropped. Default: 0, off. */
  maxHandshakesPerAddress?: number
  /** Silence after which a connection is pinged, in milliseconds. Default: 25 000. */
  heartbeatIntervalMs?: number
  /** Silence after which a connection is closed with 4408, in milliseconds. Default: 60 000. */
  idleTimeoutMs?: number
  /** Messages that one connection may send; beyond they are dropped, after 5 s of excess: 4429. */
  rateLimit?:
    | false
    | {
        /** Messages a second that may come for ever. Default: 10 000. */
        perSecond?: number
        /** Messages that may come in one burst. Default: 100 000. */
        burst?: number
      }
  /** Largest message in either direction, in bytes; beyond: 1009, and an error to a publisher. Default: 1 MiB. */
  maxMessageBytes?: number
  /** Most fragments of one message. Default: 65 537. */
  maxFragments?: number
  /** One connection's outbound queue: what the kernel has refused. What is least important is dropped and told as `gap`. */
  outbound?: {
    /** Messages. Default: 1 000. */
    maxMessages?: number
    /** Bytes. Default: 16 MiB. */
    maxBytes?: number
    /** How long it may stay full before the connection is closed with 4503, in milliseconds. Default: 10 000. */
    slowTimeoutMs?: number
    /** How long `publish` waits for room, in milliseconds; zero: without end. Default: 10 000. */
    publishTimeoutMs?: number
  }
  /** What waits for the application; beyond, connections are not read until it has caught up. */
  inbound?: {
    /**
     * Bytes in all. Default: 64 MiB.
     *
     * Messages whose end has not come may take as much again; beyond, the connection that has most of them is closed
     * with 1013.
     */
    maxBytes?: number
    /** Bytes of one connection. Default: 256 KiB. */
    maxBytesPerConnection?: number
  }
  /**
   * Bytes of all outbound queues and logs, and of who is present. Beyond, the oldest logs give way first; then
   * `broadcast` and `send` return false, and `publish` waits. Default: 512 MiB.
   */
  memoryBudgetBytes?: number
  /**
   * Compression of messages for clients that ask for it (`compression=true` or `compression=payload` in the query, or
   * the feature in `client_hello`): once for a publication, whoever gets it. False: never.
   */
  compression?:
    | boolean
    | {
        /** Messages up to this length leave as they are; 0: each one is compressed. Default: 1 024. */
        thresholdBytes?: number
        /** From 1, fast, to 9, small; 0 is off. Default: 6. */
        level?: number
      }
  /**
   * permessage-deflate (RFC 7692) for clients that offer it, as browsers do; true for the defaults. It is for clients
   * that do not speak the protocol of this server: those have `compression`. Default: false.
   */
  perMessageDeflate?:
    | boolean
    | {
        /** Messages may refer to earlier ones; each connection then has up to 370 KiB of its own. Default: false. */
        serverContextTakeover?: boolean
        /** A client's messages may; each connection then has 46 KiB of its own. Default: false. */
        clientContextTakeover?: boolean
        /** The window that is written with, as a power of two, 9 to 15; clients may ask for less. Default: 15. */
        serverMaxWindowBits?: number
        /** The same of clients, as far as they offer to be told. Default: 15. */
        clientMaxWindowBits?: number
      }
  /**
   * Signatures of envelopes of version 2: those that the server sends and those that clients send, by type. For
   * services that share a key with the server; a browser cannot keep one.
   */
  signing?: {
    /** Of these the first one signs, and all verify. */
    keys: readonly SigningKey[]
    /** The types that are signed, as globs (`*` any run, `?` one character): `order_*`. */
    types: readonly string[]
    /**
     * Whether messages of these types from clients of version 2 must be signed too, or with `all` those of clients of
     * version 1 as well, who could evade it otherwise. With false only a signature that is there is looked at.
     * Default: true.
     */
    require?: boolean | 'all'
  }
  /** The tokens of {@link WseServer.issueToken}, and those with which clients come back. */
  tickets?: {
    /** At least 32 bytes, shared by the instances of a service. Default: random, so that a restart ends all tokens. */
    secret?: string
    /**
     * Clients of version 2 get a ticket, with which they come back within an hour without a token and without a
     * question to a hook. Default: true.
     */
    resume?: boolean
  }
  /**
   * Keeps what is published, so that clients that were away get what they missed, in order and once; true for the
   * defaults. Default: false.
   */
  recovery?:
    | boolean
    | {
        /** Publications that are kept of one topic, a power of two. Default: 256. */
        slots?: number
        /** How long they are kept, in seconds. Default: 300. */
        ttlSeconds?: number
        /** Publications of one replay, or `slots` when those are more; who missed more starts anew. Default: 500. */
        maxMessages?: number
        /** Bytes of all logs; over it the one that was used longest ago goes. Default: 256 MiB. */
        budgetBytes?: number
        /** The topics that are kept, as globs (`*` any run, `?` one character). Default: all. */
        topics?: readonly string[]
      }
  /** Topics that clients may subscribe to beside their own; replaced by {@link WseServer.setTopicRules}. */
  topics?: TopicRules
  /**
   * Decides about topics, and globs, that a client asks for and `topics` neither grants nor denies: those of them that it
   * may have, or true or false for all. Its request waits. Throwing, or no answer in time, refuses.
   *
   * Answers are remembered by user and topic, so the same user gets the same answer on all connections.
   */
  authorize?: (
    connection: AuthorizeConnection,
    topics: string[],
  ) => boolean | readonly string[] | Promise<boolean | readonly string[]>
  /** How long `authorize` may take, in milliseconds. Default: 5 000; zero: for ever. */
  authorizeTimeoutMs?: number
  /** How long its answers are remembered, at most 10 000 of them, in milliseconds. Default: 60 000; zero: not at all. */
  authorizeCacheMs?: number
  /**
   * Topics, and globs, that every connection holds from the start; `{id}` stands for the user id, as in `user:{id}`, and
   * connections without a user, or with an id that no topic can have, skip it. Bound by `topics.deny`. Default: none.
   */
  subscribeOnConnect?: readonly string[]
  /** Topics that one connection may hold, globs among them. Default: 1 024. */
  maxSubscriptions?: number
  /** Globs that one connection may hold, of four `*` at most. Default: 32. */
  maxGlobs?: number
  /** Who is in a topic, told to everybody there; true for the defaults. Default: false. */
  presence?:
    | boolean
    | {
        /** Bytes of a user's data as JSON. Default: 4 096. */
        maxDataBytes?: number
        /** Users of one topic; who comes then is subscribed, and not seen. Default: 0, any number. */
        maxMembers?: number
      }
  /** How topics wait for readers that do not keep up; of several that match a topic the first counts. */
  topicPolicies?: readonly TopicPolicy[]
  /** Messages are v2 envelopes; false: plain WebSocket, nothing added, no messages of ours. Default: true. */
  envelope?: boolean
  /**
   * `echo` sends every message back as it came, for conformance tools: no envelope, no authentication, no events, and
   * by default messages of up to 16 MiB in any number of fragments at any rate, all of them compressed where
   * `perMessageDeflate` is agreed on. Default: `app`.
   */
  mode?: 'app' | 'echo'
  /**
   * At SIGTERM the server drains ({@link WseServer.drainConnections}) and closes, in router mode its host too, whose
   * requests have two seconds more; the process then ends by itself. A second SIGTERM ends it at once. True: with the defaults. Default: false.
   */
  drainOnSigterm?: boolean | DrainOptions
  /** Threads that own connections. Default: cores − 1, at least 1. */
  shards?: number
  /** Where lines of the log go: pino, or anything with its methods, `console` too. Default: nowhere. */
  logger?: Logger
  /** The least urgent lines that the logger is given. Default: `info`. */
  logLevel?: LogLevel
}

/** How {@link WseServer.drainConnections} sends everyone away. */
export interface DrainOptions {
  /** In how many equal waves. Default: 10. */
  waves?: number
  /** How long all of it may take, in milliseconds. Default: 30 000. */
  deadlineMs?: number
}

/** How important a message is, from the least: telemetry, what the next one replaces, normal, state, critical. */
export type Priority = 1 | 3 | 5 | 8 | 10

/** How an event is sent to a connection. */
export interface SendOptions {
  /**
   * How important it is, in place of its own `pri`: while there is a backlog what is more important leaves first, and
   * is dropped last. Another number than these takes the nearest. Default: 5.
   */
  priority?: Priority
}

/** What becomes of a topic's publications where a reader does not keep up with them. */
export interface TopicPolicy {
  /** The topics, as globs (`*` any run, `?` one character). */
  topics: readonly string[]
  /** Their lane: while a connection has a backlog, a higher lane leaves first. Default: 5. */
  priority?: Priority
  /**
   * What gives way when the queue of a connection is full. `drop`: what is least important, the newcomer among its
   * equals. `block`: the publisher, until there is room or `blockMs` is over. `disconnect`: the connection (4503).
   * `ring`: no more than so many of the topic wait, the oldest gives way. `latest`: of those with the same value in
   * this member of `p` (`'symbol'`, `'order.id'`) only the newest waits; true: of the whole topic. Default: `drop`.
   */
  overflow?: 'drop' | 'block' | 'disconnect' | { ring: number } | { latest: string | true }
  /** How long a full queue may hold publishers up before its connection is closed with 4503. Default: 1 000. */
  blockMs?: number
  /** How long a publication may wait before it is worth nothing, in milliseconds. Default: 0, for ever. */
  deadlineMs?: number
  /** Whether the topics have a log; `ring`, `latest` and deadlines exclude it. Default: as the option `recovery` says. */
  recovery?: boolean
}

/** From all lines to none. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'

/** What is needed of a logger: pino's methods, an object first, then the name of the event. */
export type Logger = Record<Exclude<LogLevel, 'silent'>, (fields: JsonObject, event: string) => unknown>

/** How a server takes the sockets of its host. */
export interface AttachOptions {
  /**
   * `auto`: a plain TCP socket is handed to a thread by its descriptor and answers also while JavaScript is busy;
   * every other kind, TLS for instance, is read and written by JavaScript. `stream`: all of them are. Default: `auto`.
   */
  via?: 'auto' | 'stream'
}

/** A certificate: texts, or files that are read again when they change. */
export type TlsOptions =
  | {
      /** The certificate chain in PEM, the server's own first. */
      cert: string | Buffer
      /** Its private key in PEM, unencrypted. */
      key: string | Buffer
    }
  | {
      /** The file of the certificate chain. */
      certFile: string
      /** The file of its private key. */
      keyFile: string
    }

/** Where a server of its own listens. */
export interface ListenOptions {
  /** The address, or a name that has one. Default: `0.0.0.0`. */
  host?: string
  /** The port; 0 picks one. */
  port: number
  /** Serves `wss://` and `https://` instead of plain text. Default: plain. */
  tls?: TlsOptions
}

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

/** What became of a subscription. */
export interface SubscribeResult {
  /** Whether any topic succeeded. */
  readonly success: boolean
  /** Topics that the connection holds now. */
  readonly successTopics: string[]
  /** Topics that were denied, or are none, or are too many. */
  readonly failedTopics: string[]
  /** Where the connection stands in those that have a log, by topic. */
  readonly recovery: Readonly<Record<string, RecoveryResult>>
}

/** A place in the log of a topic: what a client has seen last, or what was published. */
export interface Position {
  /** Which log it is, eight hex digits: another one when publications were lost. */
  readonly epoch: string
  /** The number of the publication, from 1; 0: before the first. */
  readonly offset: number
}

/** Where a connection stands in a topic. */
export interface RecoveryResult {
  /** Null: the topic has no log. */
  readonly epoch: string | null
  /** The last publication that it has got, or will not get. */
  readonly offset: number | null
  /**
   * Whether it has everything behind the position that was given; absent: none was. Also false where 64 requests of the
   * connection wait for their replays already: what there is still comes, and nobody waits to see.
   */
  readonly recovered?: boolean
  /** Publications that were sent again. */
  readonly count?: number
}

/** How an event is published. */
export interface PublishOptions {
  /**
   * The event's own key, 1 to 255 bytes: publishing with a key that the topic has had within five minutes returns the
   * position of the first and sends nothing. The last 5 000 keys of a topic are remembered, until its log is lost for want
   * of memory. It needs a log.
   */
  idempotencyKey?: string
  /** How important it is, in place of its own `pri`: what is less important is dropped first. Default: 5. */
  priority?: Priority
  /** How long it may wait for a reader before it is worth nothing, in milliseconds. It excludes a log. */
  deadlineMs?: number
}

/** A user who is present in a topic. */
export interface PresenceMember {
  /** What the user was last said to be present with. */
  readonly data: JsonObject
  /** Connections of the user that are present there. */
  readonly connections: number
}

/** Which page of those who are present. */
export interface PresencePageOptions {
  /** The user id behind which the page begins: `next` of the one before. Default: the first page. */
  after?: string | null | undefined
  /** Users at most, up to 1 000. Default: 100. */
  limit?: number
}

/** Some of those who are present in a topic. */
export interface PresencePage {
  /** In the order of their ids. */
  readonly members: readonly (PresenceMember & { readonly userId: string })[]
  /** What the next page comes `after`; null: this was the last one. */
  readonly next: string | null
  /** Users in the topic. */
  readonly total: number
}

/** How many are present in a topic. */
export interface PresenceStats {
  readonly numUsers: number
  readonly numConnections: number
}

/** What a token of {@link WseServer.issueToken} says. */
export interface VerifiedToken {
  /** Null: of an anonymous connection. */
  readonly userId: string | null
  /** The connection that it was issued for; it may have ended. */
  readonly connId: string
  /** The topics that it grants. */
  readonly topics: string[]
  readonly expiresAt: Date
}

/** What is known of an open connection. */
export interface ConnectionInfo {
  readonly connId: string
  /** Null: anonymous. */
  readonly userId: string | null
  readonly remoteAddress: string
  readonly connectedAt: Date
  /** When its token ends, see {@link ServerOptions.tokenExpiry}; null: it has none that ends. */
  readonly expiresAt: Date | null
  /** The version of the protocol that it speaks; 2 until a client that has not named one says `client_hello`. */
  readonly protocolVersion: 1 | 2
  /** Subscriptions that it holds. */
  readonly subscriptions: number
  /** Bytes that wait for it because its socket does not take them. */
  readonly waitingBytes: number
  /** Messages that it did not get because it was too slow, or the memory budget was used up. */
  readonly missed: number
}

/** Bytes by kind, and what a publisher paces itself by. */
export interface Memory {
  /** The option `memoryBudgetBytes`. */
  readonly budgetBytes: number
  readonly totalBytes: number
  /** Publications and unicasts that wait, each counted once however many wait for it. */
  readonly outboundBytes: number
  /** Logs of topics, with the publications in them whether they wait or not. Where memory is short these give way first. */
  readonly logBytes: number
  /** Who is present in topics. */
  readonly presenceBytes: number
  /** What waits for the application, and messages whose end has not come. */
  readonly inboundBytes: number
  /** Calls that no shard has looked at yet. */
  readonly waitingCommands: number
  /** The longest outbound queue of a connection: what the kernel has refused. */
  readonly longestOutboundMessages: number
  readonly longestOutboundBytes: number
}

/** The engine's state, in the spelling of its HTTP endpoint; parts that this version lacks are zero or false. */
export interface HealthSnapshot {
  readonly connections: number
  readonly inbound_queue_depth: number
  readonly inbound_dropped: number
  readonly uptime_secs: number
  readonly recovery_enabled: boolean
  readonly recovery_topic_count: number
  readonly recovery_total_bytes: number
  readonly cluster_connected: boolean
  readonly cluster_peer_count: number
  readonly cluster_messages_sent: number
  readonly cluster_messages_delivered: number
  readonly cluster_messages_dropped: number
  readonly cluster_bytes_sent: number
  readonly cluster_bytes_received: number
  readonly cluster_reconnect_count: number
  readonly cluster_unknown_message_types: number
  readonly cluster_dlq_size: number
  readonly presence_enabled: boolean
  readonly presence_topics: number
  readonly presence_total_users: number
}
