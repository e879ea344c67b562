/**
 * What a server is given, and its host and its port: documented where an editor shows it.
 *
 * @module
 */
import type { JsonObject, Priority } from './types.js'

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
   * connections without a user, or with an id that no topic can have, skip it. What `topics.deny` names is left
   * out. Default: none.
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
