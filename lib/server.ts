/**
 * The engine as a class: its life, its topics, and what is sent.
 *
 * Owns the public methods and how the parts know of each other. What a part does is in its own file.
 *
 * @module
 */
import type { Server as HttpServer } from 'node:http'
import type { Server as HttpsServer } from 'node:https'
import { Authorizer, type Question as TopicQuestion } from './authorize.js'
import { Dispatcher } from './callbacks.js'
import { closeCode, NOT_ALLOWED } from './closing.js'
import { warnInCluster } from './cluster.js'
import { certificate, draining, listening, type Settings, settings, topicRules } from './config.js'
import { Drain } from './drain.js'
import { Draining, endHost } from './draining.js'
import { translated, WseError } from './errors.js'
import { type Authenticate, authenticating, type Decided, Handlers } from './handlers.js'
import type { CallbackOptions, Callbacks, InboundEvent, RequestHandler } from './inbound.js'
import { KeySource } from './jwks.js'
import { Life } from './life.js'
import { type Line, Log } from './log.js'
import { native } from './native.js'
import type { AttachOptions, DrainOptions, ListenOptions, ServerOptions, TlsOptions, TopicRules } from './options.js'
import { Outbound } from './outbound.js'
import { Port } from './port.js'
import { Presence } from './presence.js'
import { Replies } from './replies.js'
import { Router } from './router.js'
import { ensureKnown } from './schema.js'
import { Streams } from './streams.js'
import { positionsOf, Subscriptions, topicsOf } from './subscriptions.js'
import type {
  ConnectionInfo,
  HealthSnapshot,
  JsonObject,
  Memory,
  OutboundEvent,
  Position,
  PresenceMember,
  PresencePage,
  PresencePageOptions,
  PresenceStats,
  PublishOptions,
  SendOptions,
  SubscribeResult,
  VerifiedToken,
} from './types.js'

/**
 * A real-time server: sockets, heartbeats, limits and fan-out on Rust threads, events in batches.
 *
 * @example
 * ```ts
 * import { createServer } from 'node:http'
 * import { WseServer } from 'wse-server'
 *
 * const http = createServer()
 * const wse = new WseServer()
 * wse.attach(http) // or, on a port of its own: await wse.listen({ port: 8000 })
 * http.listen(8000)
 *
 * for await (const batch of wse.drain()) {
 *   for (const event of batch) {
 *     if (event.type === 'connect') wse.subscribeConnection(event.connId, ['news'])
 *   }
 * }
 * ```
 */
export class WseServer {
  readonly #settings: Settings
  readonly #handle: number
  readonly #drain: Drain
  readonly #life = new Life()
  readonly #outbound: Outbound
  readonly #log: Log
  readonly #handlers: Handlers
  readonly #dispatcher: Dispatcher
  readonly #streams: Streams
  readonly #authenticate: Authenticate | undefined
  readonly #authorizer: Authorizer | undefined
  readonly #subscriptions = new Subscriptions()
  readonly #presence: Presence
  readonly #draining = new Draining()
  readonly #replies: Replies
  readonly #port: Port
  #router: Router | undefined
  #host: HttpServer | HttpsServer | undefined
  #keys: KeySource | undefined
  #closed: Promise<void> | undefined

  /** Throws `WSE_OPTION_INVALID` or `WSE_OPTION_UNKNOWN`, which name the option. */
  constructor(options: ServerOptions = {}) {
    this.#settings = settings(options)
    this.#log = new Log(this.#settings.logger, this.#settings.logLevel)
    this.#authenticate = this.#settings.authenticate && authenticating(this.#settings.authenticate, this.#log)
    this.#handle = translated(() => native.start(this.#settings.json, () => this.#wake()))
    this.#outbound = new Outbound(this.#handle, this.#life, this.#settings.publishTimeoutMs)
    this.#presence = new Presence(this.#handle, this.#life, this.#settings.presence)
    this.#drain = new Drain(this.#handle, this.#settings.envelope)
    this.#handlers = new Handlers(this.#log, {
      send: (connId, event) => this.sendEvent(connId, event),
      take: (type, isHandled) => {
        if (!this.#isGone) translated(() => native.handleType(this.#handle, type, isHandled))
      },
    })
    const holdBack = (connId: string, isHeld: boolean) => {
      if (!this.#isGone) translated(() => native.holdBack(this.#handle, connId, isHeld))
    }
    this.#dispatcher = new Dispatcher(this.#drain, this.#handlers, this.#log, this.#settings.inbound, holdBack)
    this.#streams = new Streams(this.#handle)
    const { authorize } = this.#settings
    const answer = ({ place, generation, number }: TopicQuestion, granted: string[], hasFailed: boolean) => {
      if (this.#isGone) return
      translated(() => native.authorized(this.#handle, place, generation, number, granted, hasFailed))
    }
    this.#authorizer = authorize && new Authorizer(authorize, this.#settings, this.#log, answer)
    this.#port = new Port(this.#handle, this.#life, this.#log)
    this.#replies = new Replies(this.#handle, this.#life, {
      authenticate: this.#authenticate,
      authorizer: this.#authorizer,
      draining: this.#draining,
      log: this.#log,
      outbound: this.#outbound,
      presence: this.#presence,
      subscriptions: this.#subscriptions,
      lookForKeys: async () => (await this.#keys?.wish()) ?? false,
    })
  }

  // ---- life ----

  /**
   * Listens on a port of its own; port 0 picks one. Resolves with the port.
   *
   * Rejects with `WSE_LISTEN_FAILED` when the address is taken or the name has none, `WSE_TLS_INVALID`,
   * `WSE_OPTION_INVALID`, `WSE_OPTION_UNKNOWN`, `WSE_SERVER_STARTED` when the server listens or is attached already,
   * `WSE_SERVER_CLOSED`.
   */
  async listen(options: ListenOptions): Promise<{ port: number }> {
    const address = listening(options)
    this.#begin()
    try {
      return { port: await this.#port.open(address, () => this.#openKeys()) }
    } catch (error) {
      this.#giveUp()
      throw error
    }
  }

  /**
   * Gives the TLS port of {@link WseServer.listen} another certificate: for those who connect from now on.
   * Connections stay as they are.
   *
   * Rejects with `WSE_TLS_INVALID` when it is of no use, expired, or not the key's, and then the one before stays in
   * force; `WSE_OPTION_INVALID` when the port has no TLS; `WSE_SERVER_CLOSED`.
   */
  async setTls(options: TlsOptions): Promise<void> {
    return this.#port.setTls(certificate(options))
  }

  /**
   * Router mode: serves the option `path` on the port of an existing HTTP server, and `{path}/health` and
   * `{path}/ready`. Everything else stays the host's. Plain TCP sockets are handed to Rust and answer also while
   * JavaScript is busy; those of HTTPS servers, of pipes and on Windows are read and written by JavaScript, and wait
   * while it is. Closing such a host tells their connections that the server restarts (1012).
   *
   * Throws `WSE_ATTACH_UNSUPPORTED` when `host` is an application and not its HTTP server, `WSE_OPTION_INVALID`,
   * `WSE_OPTION_UNKNOWN`, `WSE_PATH_TAKEN`, `WSE_SERVER_STARTED`, `WSE_SERVER_CLOSED`.
   */
  attach(host: HttpServer | HttpsServer, options: AttachOptions = {}): void {
    this.#begin()
    void this.#openKeys()
    try {
      const engine = {
        path: this.#settings.path,
        handshakeTimeoutMs: this.#settings.handshakeTimeoutMs,
        maxHandshakes: this.#settings.maxHandshakes,
        trustProxy: this.#settings.trustProxy,
        authenticate: this.#authenticate,
        adopt: (descriptor: number, head: Buffer, identity: Decided | null | undefined) => {
          const isDecided = identity !== undefined
          translated(() => native.adopt(this.#handle, descriptor, head, isDecided, identity?.userId, identity?.claims))
        },
        knock: (head: Buffer) => translated(() => native.knock(this.#handle, head)),
        onCrowd: () => this.#log.say(['warn', 'wse.overload', { reason: 'handshakes' }]),
        carry: this.#streams.open.bind(this.#streams),
        onHostClose: () => this.#streams.disconnect(),
        health: () => ({
          isRunning: this.isRunning() && !this.#draining.hasBegun,
          isReady: this.isRunning() && translated(() => native.isReady(this.#handle)),
          snapshot: this.healthSnapshot(),
        }),
      }
      this.#router = new Router(host, engine, options)
      this.#host = host
    } catch (error) {
      this.#giveUp()
      throw error
    }
  }

  /** Begins to look for the keys of tokens. Resolves when it has looked once, with success or without. */
  async #openKeys(): Promise<void> {
    const { jwks } = this.#settings
    if (!jwks) return
    this.#keys = new KeySource(
      jwks,
      (keys) => translated(() => native.setKeys(this.#handle, keys)),
      (err) => this.#log.fault('WseJwksWarning', err.message, { code: err.code, err }),
    )
    await this.#keys.open()
  }

  /** Whether the server listens or is attached, and is not closing. */
  isRunning(): boolean {
    return this.#life.isRunning
  }

  /**
   * Sends every connection away in waves, so that they do not all come back at once: each gets what waits for it, then
   * Close 4300 with a delay of its own, in version 2 with a ticket too. Nobody is let in any more, and
   * `{path}/ready` and `{path}/health` answer 503 at once.
   *
   * Resolves when the last one is gone, or with the deadline, at which the rest is closed (1012). The server still
   * runs, without connections: {@link WseServer.close} comes next. A second call joins the first. Throws
   * `WSE_OPTION_INVALID`, `WSE_OPTION_UNKNOWN`.
   */
  async drainConnections(options: DrainOptions = {}): Promise<void> {
    const { waves, deadlineMs } = draining(options)
    if (!this.isRunning()) return this.#closed
    return this.#draining.begin(() => translated(() => native.drainConnections(this.#handle, waves, deadlineMs)))
  }

  async #leave(options: DrainOptions): Promise<void> {
    await this.drainConnections(options)
    await this.close()
    if (this.#host) endHost(this.#host)
  }

  /**
   * Tells every connection that the server restarts (1012) and ends. Resolves when the last one is gone, after
   * two seconds at most; the process then exits by itself. What waits for a slow reader is given up; what waits
   * for the application is still handed out.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    this.#life.close()
    this.#outbound.close()
    this.#router?.detach()
    this.#port.close()
    this.#keys?.close()
    await this.#replies.ended(translated(() => native.close(this.#handle)))
    const dropped = this.inboundDroppedCount()
    if (dropped > 0 && !this.#log.hasLogger) {
      const text = `${dropped} messages were dropped because nobody drained: use drain() or drainInbound()`
      process.emitWarning(text, { type: 'WseInboundWarning' })
    }
    this.#report()
    this.#log.close()
    this.#drain.close()
    this.#life.end()
    this.#draining.end()
    this.#streams.close()
    this.#subscriptions.close()
    this.#authorizer?.close()
    this.#presence.close()
    translated(() => native.release(this.#handle))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #begin(): void {
    this.#life.begin()
    const { drainOnSigterm } = this.#settings
    if (drainOnSigterm) this.#draining.onSigterm(() => void this.#leave(drainOnSigterm))
    this.#attend()
    warnInCluster()
  }

  #giveUp(): void {
    if (!this.#life.giveUp()) return
    this.#keys?.close()
    this.#draining.end()
  }

  // ---- what comes in ----

  /**
   * Up to `batchSize` events, in order for each connection. Waits up to `timeoutMs` for the first one; an empty
   * list means that none came, or that the server is closed and has no more.
   */
  drainInbound(batchSize = 256, timeoutMs = 50): Promise<InboundEvent[]> {
    return this.#drain.take(batchSize, timeoutMs)
  }

  /**
   * Batches of events until the server is closed and everything that waited is handed out.
   *
   * A slow loop slows the clients down, through TCP: nothing is lost, and memory stays within the option
   * `inbound`. Leaving the loop means that nobody drains: from then on what does not fit is dropped and counted.
   */
  drain(): AsyncIterableIterator<InboundEvent[]> {
    return this.#drain.batches()
  }

  /**
   * The same events one by one, for a loop that is easier to read and costs more for each. Leaving the loop means
   * that nobody drains; what it has not reached stays for the next one.
   */
  events(): AsyncIterableIterator<InboundEvent> {
    return this.#drain.events()
  }

  /**
   * Calls these functions with the events, in place of those before; null: none any more, as if a loop were left.
   * The events of a connection come in order; a callback that returns a promise holds up its own connection only.
   *
   * Slow callbacks slow the clients down as a slow loop does. A callback that fails is told to the log and stops
   * nothing. Throws `WSE_CONSUMER_TAKEN` while a loop takes the events, `WSE_OPTION_INVALID`, `WSE_OPTION_UNKNOWN`.
   */
  setCallbacks(callbacks: Callbacks | null, options: CallbackOptions = {}): void {
    this.#dispatcher.set(callbacks, options)
  }

  /**
   * Answers messages of a type, in place of the engine or of whoever takes the events: what `handler` returns is sent
   * to the connection. Null gives the type back. Whatever the engine does not need for itself can be taken.
   *
   * Requests come in their place among the connection's events; a handler that returns a promise holds up the next
   * request of its connection, and with `setCallbacks` every event of it. A server that has handlers and nobody who
   * takes events takes them by itself, drops what is no request, and counts it.
   *
   * Throws `WSE_OPTION_INVALID`: the type belongs to the transport, or the option `envelope` is false.
   */
  handle(type: string, handler: RequestHandler | null): void {
    if (!this.#settings.envelope) {
      throw new WseError('WSE_OPTION_INVALID', 'option envelope: without envelopes messages have no types to handle')
    }
    this.#handlers.set(type, handler)
    this.#attend()
  }

  /** Sees to requests that nobody would take out. */
  #attend(): void {
    if (this.isRunning()) this.#drain.attend(!this.#handlers.isEmpty)
  }

  /** Events that wait for the application. */
  inboundQueueDepth(): number {
    const inside = this.#isGone ? 0 : translated(() => native.inboundDepth(this.#handle))
    return inside + this.#drain.left
  }

  /** Events that were dropped because nobody drains. */
  inboundDroppedCount(): number {
    return this.#isGone ? 0 : this.healthSnapshot().inbound_dropped
  }

  // ---- what goes out ----

  /**
   * Sends text to one connection. False: it is gone, or there is no room for it in its queue or in the memory budget
   * (then it is told with `gap`).
   *
   * A JSON object becomes an envelope; other text goes out as it is. Throws `WSE_RESERVED_MEMBER`,
   * `WSE_MESSAGE_TOO_LARGE`.
   */
  send(connId: string, text: string): boolean {
    return this.#outbound.send(connId, text) >= 0
  }

  /** Sends bytes to one connection. False: it is gone, or there is no room for it. */
  sendBytes(connId: string, bytes: Uint8Array): boolean {
    return this.#outbound.sendBytes(connId, bytes)
  }

  /**
   * Sends an event to one connection; the bytes of JSON queued, 0 when it is gone or there is no room for it.
   *
   * Throws `WSE_MESSAGE_INVALID`, `WSE_RESERVED_MEMBER`, `WSE_MESSAGE_TOO_LARGE`, `WSE_OPTION_INVALID`,
   * `WSE_OPTION_UNKNOWN`.
   */
  sendEvent(connId: string, event: OutboundEvent, options?: SendOptions): number {
    return Math.max(0, this.#outbound.sendEvent(connId, event, options))
  }

  /** Sends an event, or text, to each connection of a user; how many took it. */
  sendToUser(userId: string, event: OutboundEvent | string): number {
    return this.#outbound.sendToUser(userId, event)
  }

  /** Sends text to every connection. False: over the memory budget, nothing was queued. */
  broadcastAll(text: string): boolean {
    return this.#outbound.broadcastAll(text)
  }

  /** Sends bytes to every connection. False: over the memory budget, nothing was queued. */
  broadcastAllBytes(bytes: Uint8Array): boolean {
    return this.#outbound.broadcastAllBytes(bytes)
  }

  /**
   * Publishes to everyone who holds `topic`. False: nothing was queued, because the memory budget is used up or a reader
   * of a topic with `overflow: 'block'` is behind.
   *
   * Throws `WSE_TOPIC_INVALID`, `WSE_RESERVED_MEMBER`, `WSE_MESSAGE_TOO_LARGE`, also where nobody listens.
   */
  broadcast(topic: string, event: OutboundEvent | string): boolean {
    return this.#outbound.broadcast(topic, event)
  }

  /**
   * Publishes to everyone who holds `topic`. Resolves when the event is logged and on its way: to its place in the log,
   * or null when the topic has none (option `recovery`), or it is text that is no envelope. Where there is no room for it, in the memory of all queues or
   * for a reader of a topic with `overflow: 'block'`, it waits, in order with others to the topic.
   *
   * Rejects with `WSE_SERVER_OVERLOADED` when there is no room within `outbound.publishTimeoutMs`, or 10 000 wait already,
   * `WSE_TOPIC_UNLOGGED` for a key without a log, `WSE_TOPIC_LOGGED` for a deadline with one, `WSE_OPTION_INVALID`,
   * `WSE_OPTION_UNKNOWN`, `WSE_TOPIC_INVALID`, `WSE_RESERVED_MEMBER`, `WSE_MESSAGE_TOO_LARGE`, `WSE_MESSAGE_INVALID`, `WSE_SERVER_CLOSED`.
   */
  async publish(topic: string, event: OutboundEvent | string, options: PublishOptions = {}): Promise<Position | null> {
    this.#life.ensureOpen()
    return this.#outbound.publish(topic, event, options)
  }

  /** The same as {@link WseServer.broadcast}, on this instance only. */
  broadcastLocal(topic: string, event: OutboundEvent | string): boolean {
    return this.broadcast(topic, event)
  }

  // ---- topics ----

  /**
   * Makes a connection hold topics, and globs: bound by `topics.deny` only, and by `maxSubscriptions` and `maxGlobs`.
   *
   * What is published after the call reaches the connection, also before the promise resolves. A connection that
   * is gone, which any may be at any time, holds nothing: all topics are in `failedTopics`. Rejects with
   * `WSE_OPTION_INVALID` when `topics` is no list of texts.
   *
   * With `presenceData` the connection's user is present in these topics, and everybody there is told; without the
   * option `presence` it is ignored. Rejects with `WSE_PRESENCE_TOO_LARGE`, to be caught where others say what is in it,
   * and `WSE_OPTION_INVALID` when it is no object.
   */
  async subscribeConnection(
    connId: string,
    topics: readonly string[],
    presenceData?: JsonObject,
  ): Promise<SubscribeResult> {
    const wanted = topicsOf(topics)
    return this.#subscribe(connId, { topics: wanted, epochs: [], offsets: [] }, this.#presence.text(presenceData))
  }

  /**
   * Makes a connection hold topics from where it left off: it gets everything behind each position, in order and once,
   * and then what is published. Resolves when it has caught up, to `recovery` with `recovered: false` where something
   * is no longer there: then the connection has nothing of that topic but what comes, and needs a fresh start.
   *
   * Rejects with `WSE_OPTION_INVALID` when a position is none.
   */
  async subscribeWithRecovery(connId: string, positions: Readonly<Record<string, Position>>): Promise<SubscribeResult> {
    return this.#subscribe(connId, positionsOf(positions))
  }

  #subscribe(
    connId: string,
    { topics, epochs, offsets }: ReturnType<typeof positionsOf>,
    data: string | null = null,
  ): Promise<SubscribeResult> {
    const subscribe = (request: number) =>
      translated(() => native.subscribe(this.#handle, connId, topics, data, request, epochs, offsets))
    return this.#subscriptions.ask(topics, (request) => !this.#isGone && subscribe(request))
  }

  /**
   * Makes a connection a member of a queue group of `topic`, bound by `topics.deny` only: of all members of `group` one
   * gets each publication, in turn, and those that cannot take it at once are skipped. The connection holds the topic
   * no longer by itself, or in another group; {@link WseServer.unsubscribeConnection} ends it.
   *
   * While no member is free, messages wait within the bounds of the option `outbound`; the oldest give way. Rejects with
   * `WSE_OPTION_INVALID` when a name is no text, `WSE_TOPIC_INVALID` when the group's is none that a topic could have,
   * `WSE_TOPIC_LOGGED` when the topic has a log.
   */
  async joinQueueGroup(connId: string, topic: string, group: string): Promise<SubscribeResult> {
    const wanted = topicsOf([topic])
    const [name] = topicsOf([group]) as [string]
    const join = (request: number) => translated(() => native.joinGroup(this.#handle, connId, topic, name, request))
    return this.#subscriptions.ask(wanted, (request) => !this.#isGone && join(request))
  }

  /**
   * Ends subscriptions; null: all of the connection's. What `authorize` had answered its user about them is forgotten.
   * The client is told nothing. False: it is gone. Throws `WSE_OPTION_INVALID`.
   */
  unsubscribeConnection(connId: string, topics: readonly string[] | null): boolean {
    const unwanted = topics === null ? null : topicsOf(topics)
    const whose = this.#authorizer && this.getConnectionInfo(connId)
    if (whose) this.#authorizer?.forget(whose, unwanted)
    return !this.#isGone && translated(() => native.unsubscribe(this.#handle, connId, unwanted))
  }

  /**
   * Replaces the option `topics`, in order with what is published. Connections lose what they may not have any more, and
   * their clients are told: what a client asked for by itself where the rules do not grant it, and whatever is denied.
   *
   * Throws `WSE_OPTION_INVALID`, `WSE_OPTION_UNKNOWN`.
   */
  setTopicRules(rules: TopicRules): void {
    const json = JSON.stringify(topicRules(rules))
    if (!this.#isGone) translated(() => native.setTopicRules(this.#handle, json))
  }

  /** Subscriptions to a topic on this instance, members of its queue groups included. */
  getTopicSubscriberCount(topic: string): number {
    return this.#isGone ? 0 : translated(() => native.subscriberCount(this.#handle, topic))
  }

  // ---- presence ----

  /** Who is present in a topic, by user id: all of them at once. For many users there are pages. */
  presence(topic: string): Record<string, PresenceMember>
  /**
   * Some of those who are present, in the order of their ids, and where the next page begins: whoever stays is on one
   * page exactly. A page has about a megabyte at most. Throws `WSE_OPTION_INVALID`.
   */
  presence(topic: string, page: PresencePageOptions): PresencePage
  presence(topic: string, page?: PresencePageOptions): Record<string, PresenceMember> | PresencePage {
    return page ? this.#presence.page(topic, page) : this.#presence.members(topic)
  }

  /** How many are present in a topic, however many these are at the same cost. */
  presenceStats(topic: string): PresenceStats {
    return this.#presence.stats(topic)
  }

  /**
   * Sets what a connection's user is present with, in every topic where that connection is; in how many. Everybody
   * there is told, unless nothing has changed. Zero: the connection is gone, or present nowhere.
   *
   * Rejects with `WSE_PRESENCE_TOO_LARGE`, `WSE_OPTION_INVALID` when it is no object or the option `presence` is off.
   */
  updatePresence(connId: string, data: JsonObject): Promise<number> {
    return this.#presence.update(connId, data)
  }

  // ---- tokens ----

  /**
   * A token for an open connection; null: it is gone, or its user's own token has ended. Without `topics` it lets its
   * holder act for the connection beside its socket, for 24 hours; with `topics` it lets the user subscribe to them,
   * for an hour, whatever `topics.allow` says. It ends with the user's own token, and is worth nothing as a login.
   *
   * Throws `WSE_OPTION_INVALID` when `topics` is there and no list of texts, `WSE_OPTION_UNKNOWN`, `WSE_TOPIC_INVALID`,
   * `WSE_TOKEN_INVALID` when it names a glob, or so many topics that the token would have more than 8 192 bytes.
   */
  issueToken(connId: string, options: { topics?: readonly string[] } = {}): string | null {
    // A token of the other type by mistake would be good for more than was meant.
    ensureKnown(options, 'issueToken', ['topics'])
    const granted = 'topics' in options ? topicsOf(options.topics) : undefined
    return this.#isGone ? null : translated(() => native.issueToken(this.#handle, connId, granted))
  }

  /**
   * What a token says that this server has issued, or another instance with the same `tickets.secret`; null: it is
   * none of those, has ended, was revoked, or is of the other type. Throws `WSE_OPTION_INVALID`: there is no such type.
   */
  verifyToken(token: string, type: 'session' | 'topic' = 'session'): VerifiedToken | null {
    if (type !== 'session' && type !== 'topic') {
      throw new WseError('WSE_OPTION_INVALID', "a token is of the type 'session' or 'topic'")
    }
    const json = this.#isGone ? null : translated(() => native.verifyToken(this.#handle, token, type === 'topic'))
    if (json === null) return null
    const verified = JSON.parse(json) as JsonObject
    return { ...verified, expiresAt: new Date(verified.expiresAt) } as VerifiedToken
  }

  /**
   * Takes back every token that a user has so far on this instance, and the tickets to come back with. Connections stay
   * open; they get no ticket until their login is checked again.
   */
  revokeTokens(userId: string): void {
    if (!this.#isGone) translated(() => native.revokeTokens(this.#handle, userId))
  }

  // ---- looking ----

  /** The ids of all open connections: a snapshot. */
  getConnections(): string[] {
    return this.#isGone ? [] : translated(() => native.connections(this.#handle))
  }

  /** How many connections are open. */
  getConnectionCount(): number {
    return this.#isGone ? 0 : translated(() => native.connectionCount(this.#handle))
  }

  /** What is known of an open connection; null: it is gone. */
  getConnectionInfo(connId: string): ConnectionInfo | null {
    const json = this.#isGone ? null : translated(() => native.connectionInfo(this.#handle, connId))
    if (json === null) return null
    const info = JSON.parse(json) as JsonObject
    const expiresAt = info.expiresAt === null ? null : new Date(info.expiresAt)
    return { ...info, connectedAt: new Date(info.connectedAt), expiresAt } as ConnectionInfo
  }

  /** Closes a connection. False: it was gone. Default: 4403, after which clients do not come back. */
  disconnect(connId: string, code = NOT_ALLOWED, reason = ''): boolean {
    const sent = closeCode(code)
    return !this.#isGone && translated(() => native.disconnect(this.#handle, connId, sent, reason))
  }

  /**
   * Closes all connections of a user; how many. Default: 4403, after which clients do not come back. Who might all the
   * same has a ticket for it: {@link WseServer.revokeTokens} takes it back.
   */
  disconnectUser(userId: string, code = NOT_ALLOWED, reason = ''): number {
    const sent = closeCode(code)
    return this.#isGone ? 0 : translated(() => native.disconnectUser(this.#handle, userId, sent, reason))
  }

  /** The engine's state, in the spelling of its HTTP endpoint. Throws `WSE_SERVER_CLOSED`. */
  healthSnapshot(): HealthSnapshot {
    return JSON.parse(translated(() => native.health(this.#handle))) as HealthSnapshot
  }

  /** Bytes by kind, and what a publisher paces itself by. Throws `WSE_SERVER_CLOSED`. */
  memory(): Memory {
    return JSON.parse(translated(() => native.memory(this.#handle))) as Memory
  }

  get #isGone(): boolean {
    return this.#life.isGone
  }

  // ---- waking ----

  #wake(): void {
    if (this.#isGone) return
    this.#replies.handOut()
    this.#streams.wake()
    this.#report()
    this.#drain.wake()
  }

  #report(): void {
    if (!this.#log.hasLogger) return
    for (const line of JSON.parse(translated(() => native.lines(this.#handle))) as Line[]) this.#log.say(line)
  }
}
