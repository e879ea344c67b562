/**
 * What the `authorize` hook has answered about topics, or will: by whom it was asked for, so that one word forgets it.
 *
 * Holds 10 000 answers, the newest; the oldest 5 000 go at once, so that nothing ever looks for the oldest. Never asks.
 *
 * @module
 */

/** Answers of one generation; there are two. */
const GENERATION = 5_000

/** What a call of the hook came to; null: it failed, or was late. */
export type Granted = ReadonlySet<string> | null

/** Whether a topic is granted, or the call that will say. */
export type Grant = boolean | Promise<Granted>

/** An answer, which changes in its place when it comes. */
export interface Answer {
  grant: Grant
  /** When it is no longer true; on the monotonic clock, in milliseconds. */
  until: number
}

type Generation = Map<string, Map<string, Answer>>

/** Answers by owner and topic. */
export class Answers {
  #young: Generation = new Map()
  #old: Generation = new Map()
  /** What the young generation was given, also what was forgotten since. */
  #count = 0

  /** The newest answer, unless it is no longer true. */
  get(owner: string, topic: string): Answer | undefined {
    const answer = this.#young.get(owner)?.get(topic) ?? this.#old.get(owner)?.get(topic)
    return answer && answer.until > performance.now() ? answer : undefined
  }

  set(owner: string, topic: string, answer: Answer): void {
    if (this.#count >= GENERATION) {
      this.#old = this.#young
      this.#young = new Map()
      this.#count = 0
    }
    this.#count += 1
    const topics = this.#young.get(owner) ?? new Map<string, Answer>()
    this.#young.set(owner, topics.set(topic, answer))
  }

  /** Forgets what was answered to an owner about these topics; null: about all. */
  forget(owner: string, topics: readonly string[] | null): void {
    for (const generation of [this.#young, this.#old]) {
      if (topics === null) generation.delete(owner)
      else for (const topic of topics) generation.get(owner)?.delete(topic)
    }
  }
}
