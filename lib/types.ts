/**
 * What is sent, and what is known of topics, users and connections: documented where an editor shows it.
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

/**
 * How important a message is, from the least: telemetry, what the next one replaces, normal, state, critical. Another
 * number in an event's own `pri` takes the nearest.
 */
export type Priority = 1 | 3 | 5 | 8 | 10

/** How an event is sent to a connection. */
export interface SendOptions {
  /**
   * How important it is, in place of its own `pri`: while there is a backlog what is more important leaves first, and
   * is dropped last. Default: 5.
   */
  priority?: Priority
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
