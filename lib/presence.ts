/**
 * Who is in a topic: the application's questions and wishes.
 *
 * Checks what is given to the addon, which keeps who is there.
 *
 * @module
 */

import { translated, WseError } from './errors.js'
import { objectText } from './json.js'
import type { Life } from './life.js'
import { native } from './native.js'
import { Requests } from './requests.js'
import { ensureKnown } from './schema.js'
import type { JsonObject, PresenceMember, PresencePage, PresencePageOptions, PresenceStats } from './types.js'

/** The option `presence`; null: off. */
export type PresenceLimits = { readonly maxDataBytes: number } | null

/** Members of a page at most, and when nobody says how many. */
const MOST = 1_000
const SOME = 100

/** The presence of one server. */
export class Presence {
  readonly #handle: number
  readonly #life: Life
  readonly #limits: PresenceLimits
  /** Updates that have no answer yet: in how many topics. */
  readonly #updates = new Requests<number>()

  constructor(handle: number, life: Life, limits: PresenceLimits) {
    this.#handle = handle
    this.#life = life
    this.#limits = limits
  }

  /** What a user is present with, as the addon wants it; undefined: with nothing, or presence is off. */
  text(data: JsonObject | undefined): string | undefined {
    if (data === undefined || this.#limits === null) return undefined
    const text = objectText(data, 'WSE_OPTION_INVALID', 'presence data: expected an object')
    const most = this.#limits.maxDataBytes
    if (most > 0 && Buffer.byteLength(text) > most) {
      throw new WseError('WSE_PRESENCE_TOO_LARGE', `presence data has more than ${most} bytes of JSON`)
    }
    return text
  }

  /** See `presence` of the server. */
  members(topic: string): Record<string, PresenceMember> {
    const entries: [string, PresenceMember][] = []
    let after: string | null | undefined
    do {
      const page: PresencePage = this.page(topic, { after, limit: MOST })
      for (const { userId, data, connections } of page.members) entries.push([userId, { data, connections }])
      after = page.next
    } while (after !== null)
    return Object.fromEntries(entries)
  }

  /** See `presence` of the server. */
  page(topic: string, options: PresencePageOptions): PresencePage {
    ensureKnown(options, 'presence', ['after', 'limit'])
    const { after, limit = SOME } = options
    if (!Number.isSafeInteger(limit) || limit < 1 || limit > MOST) {
      throw new WseError('WSE_OPTION_INVALID', `limit: expected a whole number from 1 to ${MOST}`)
    }
    if (this.#life.isGone) return { members: [], next: null, total: 0 }
    return JSON.parse(translated(() => native.presence(this.#handle, topic, after, limit))) as PresencePage
  }

  stats(topic: string): PresenceStats {
    if (this.#life.isGone) return { numUsers: 0, numConnections: 0 }
    const [numUsers = 0, numConnections = 0] = translated(() => native.presenceStats(this.#handle, topic))
    return { numUsers, numConnections }
  }

  async update(connId: string, data: JsonObject): Promise<number> {
    if (this.#limits === null) {
      throw new WseError('WSE_OPTION_INVALID', 'option presence is off: nobody is present anywhere')
    }
    const text = this.text(data)
    if (text === undefined) throw new WseError('WSE_OPTION_INVALID', 'presence data: expected an object')
    const send = (request: number) => translated(() => native.updatePresence(this.#handle, connId, text, request))
    return (await this.#updates.ask((request) => !this.#life.isGone && send(request))) ?? 0
  }

  /** The engine's answer to an update. */
  answer(request: number, topics: number): void {
    this.#updates.answer(request, topics)
  }

  /** No more answers will come: nobody is present. */
  close(): void {
    this.#updates.close()
  }
}
