/**
 * Subscriptions: what is asked of the engine for them, and what becomes of it.
 *
 * Never calls the addon.
 *
 * @module
 */
import { WseError } from './errors.js'
import { Requests } from './requests.js'
import type { Position, SubscribeResult } from './types.js'

/** What the engine answers: the topics that were refused, and where the connection stands in others. */
type Answer = [failedTopics: readonly string[], recovery: SubscribeResult['recovery']]

/** The subscriptions of one server that have no answer yet. */
export class Subscriptions {
  readonly #requests = new Requests<Answer>()

  /** Sends a request with a number of its own; resolves when that number is answered, or at once when it did not go. */
  async ask(topics: readonly string[], send: (request: number) => boolean): Promise<SubscribeResult> {
    // Without an answer nobody holds anything.
    const [failedTopics, recovery] = (await this.#requests.ask(send)) ?? [topics, {}]
    return result(topics, failedTopics, recovery)
  }

  /** The engine's answer to a request. */
  answer(request: number, ...answer: Answer): void {
    this.#requests.answer(request, answer)
  }

  /** No more answers will come. */
  close(): void {
    this.#requests.close()
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
