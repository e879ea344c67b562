/**
 * What the addon answers and asks: each of it goes to the part that waits for it.
 *
 * Owns when the shards have ended. Never decides what an answer means.
 *
 * @module
 */
import type { Authorizer, Question as TopicQuestion } from './authorize.js'
import type { Draining } from './draining.js'
import { translated, WseError } from './errors.js'
import type { Authenticate } from './handlers.js'
import type { Life } from './life.js'
import type { Log } from './log.js'
import { native } from './native.js'
import type { AuthenticateRequest } from './options.js'
import type { Outbound } from './outbound.js'
import type { Presence } from './presence.js'
import type { Subscriptions } from './subscriptions.js'
import type { SubscribeResult } from './types.js'

/** A connection that waits for the application's word. */
interface Question {
  readonly place: number
  readonly generation: number
  readonly request: string
}

/** Connections wait with tokens of unknown keys for a look at newer ones. */
interface Look {
  readonly look: number
}

/** A message was not sent, because it cannot be signed; why. */
interface Unsigned {
  readonly unsigned: string
}

/** A user's presence was set: in how many topics. */
interface Updated {
  readonly updated: number
  readonly topics: number
}

/** A connection of this user has other claims. */
interface ClaimsChanged {
  readonly claimsOf: string
}

/** As `replies` in the addon's `drain.rs` writes it. Null: a shard has ended; true: it has drained. */
type Reply =
  | true
  | number
  | [request: number, refused: string[], recovery: SubscribeResult['recovery']]
  | Question
  | TopicQuestion
  | ClaimsChanged
  | Look
  | Unsigned
  | Updated
  | 'room'
  | null

/** Who waits for answers, or is asked. */
interface Recipients {
  readonly authenticate: Authenticate | undefined
  readonly authorizer: Authorizer | undefined
  readonly draining: Draining
  readonly log: Log
  readonly outbound: Outbound
  readonly presence: Presence
  readonly subscriptions: Subscriptions
  /** Looks for newer keys of tokens: whether what can be had is in force. */
  readonly lookForKeys: () => Promise<boolean>
}

/** The replies of one server. */
export class Replies {
  readonly #handle: number
  readonly #life: Life
  readonly #to: Recipients
  /** Shards that have not ended; below zero: those that failed before the server was closed. */
  #shards = 0
  #onEnd: (() => void) | undefined

  constructor(handle: number, life: Life, to: Recipients) {
    this.#handle = handle
    this.#life = life
    this.#to = to
  }

  /** Hands out what has come. */
  handOut(): void {
    const replies = JSON.parse(translated(() => native.replies(this.#handle))) as Reply[]
    for (const reply of replies) this.#hand(reply)
    this.#to.authorizer?.ask()
  }

  /** Resolves when so many shards have ended. */
  async ended(shards: number): Promise<void> {
    this.#shards += shards
    if (this.#shards > 0) {
      await new Promise<void>((resolve) => {
        this.#onEnd = resolve
      })
    }
  }

  #hand(reply: Reply): void {
    const { authorizer, draining, outbound, presence, subscriptions } = this.#to
    if (reply === true) draining.shardIsDone()
    else if (reply === null) {
      draining.shardIsDone()
      this.#shards -= 1
      if (this.#shards <= 0) this.#onEnd?.()
    } else if (typeof reply === 'number') subscriptions.answer(reply, [], {})
    else if (Array.isArray(reply)) subscriptions.answer(...reply)
    else if (reply === 'room') outbound.resume()
    else if ('look' in reply) void this.#look(reply)
    else if ('updated' in reply) presence.answer(reply.updated, reply.topics)
    else if ('claims' in reply) authorizer?.add(reply)
    else if ('claimsOf' in reply) authorizer?.forget({ userId: reply.claimsOf, connId: '' }, null)
    else if ('unsigned' in reply) this.#warnOfUnsigned(reply.unsigned)
    else void this.#decide(reply)
  }

  async #look({ look }: Look): Promise<void> {
    const isDone = await this.#to.lookForKeys()
    if (!this.#life.isGone) translated(() => native.looked(this.#handle, look, isDone))
  }

  #warnOfUnsigned(reason: string): void {
    const message = 'a message could not be signed, and was sent to nobody who speaks version 2'
    const err = new WseError('WSE_MESSAGE_INVALID', reason)
    this.#to.log.fault('WseSigningWarning', message, { code: err.code, err })
  }

  async #decide({ place, generation, request }: Question): Promise<void> {
    const { headers, url, remoteAddress } = JSON.parse(request) as AuthenticateRequest
    const identity = await this.#to.authenticate?.({ headers, url, remoteAddress })
    if (this.#life.isGone) return
    translated(() => native.decide(this.#handle, place, generation, identity?.userId, identity?.claims))
  }
}
