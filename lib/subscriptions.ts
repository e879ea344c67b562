/**
 * Subscriptions that the engine works on: what was asked for, and who waits for the answer.
 *
 * Never calls the addon.
 *
 * @module
 */
import { WseError } from './errors.js'
import type { Position, SubscribeResult } from './types.js'

interface Asked {
  readonly topics: readonly string[]
  readonly resolve: (result: SubscribeResult) => void
}

/** The requests of one server that have no answer yet. */
export class Subscriptions {
  readonly #asked = new Map<number, Asked>()
  #requests = 0

  /** Sends a request with a number of its own; resolves when that number is answered, or at once when it did not go. */
  async ask(topics: readonly string[], send: (request: number) => boolean): Promise<SubscribeResult> {
    // The addon counts in 32 bits.
    const request = this.#requests++ >>> 0
    if (!send(request)) return result(topics, topics, {})
    return new Promise((resolve) => this.#asked.set(request, { topics, resolve }))
  }

  /** The engine's answer to a request. */
  answer(request: number, failedTopics: readonly string[], recovery: SubscribeResult['recovery']): void {
    const asked = this.#asked.get(request)
    this.#asked.delete(request)
    asked?.resolve(result(asked.topics, failedTopics, recovery))
  }

  /** No more answers will come: nobody holds anything. */
  close(): void {
    for (const [request, { topics }] of this.#asked) this.answer(request, topics, {})
  }
}

function result(
  topics: readonly string[],
  failedTopics: readonly string[],
  recovery: SubscribeResult['recovery'],
): SubscribeResult {
  const successTopics = topics.filter((topic) => !failedTopics.includes(topic))
  return { success: successTopics.length > 0, successTopics, failedTopics: [...failedTopics], recovery }
}

/** Positions by topic, as the addon takes them. Throws `WSE_OPTION_INVALID`. */
export function positionsOf(positions: Readonly<Record<string, Position>>): {
  topics: string[]
  epochs: number[]
  offsets: number[]
} {
  if (typeof positions !== 'object' || positions === null) {
    throw new WseError('WSE_OPTION_INVALID', 'positions: expected an object, { topic: { epoch, offset } }')
  }
  const given = Object.entries(positions)
  for (const [topic, position] of given) {
    if (/^[0-9a-f]{8}$/.test(position?.epoch) && Number.isSafeInteger(position.offset) && position.offset >= 0) continue
    throw new WseError('WSE_OPTION_INVALID', `positions: expected { epoch: eight hex digits, offset } for ${topic}`)
  }
  return {
    topics: given.map(([topic]) => topic),
    epochs: given.map(([, { epoch }]) => Number.parseInt(epoch, 16)),
    offsets: given.map(([, { offset }]) => offset),
  }
}

/** A copy of the caller's topics, which may change before the engine has answered. Throws `WSE_OPTION_INVALID`. */
export function topicsOf(topics: readonly string[]): string[] {
  if (Array.isArray(topics) && topics.every((topic) => typeof topic === 'string')) return [...topics]
  throw new WseError('WSE_OPTION_INVALID', 'topics: expected a list of texts')
}
