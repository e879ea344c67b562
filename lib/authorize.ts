/**
 * Asks the application which topics a connection may have that the rules neither grant nor deny.
 *
 * Remembers its answers, and never asks twice at once for the same. A hook that fails or is late denies.
 *
 * @module
 */
import type { Log } from './log.js'
import type { AuthorizeConnection, JsonObject, ServerOptions } from './types.js'

/** Answers that are remembered; over it the oldest goes. */
const REMEMBERED = 10_000

/** A request for topics that waits in the engine. */
export interface Question {
  readonly place: number
  readonly generation: number
  readonly number: number
  readonly connId: string
  readonly userId: string | null
  /** JSON. */
  readonly claims: string
  readonly topics: readonly string[]
}

/** What a call of the hook came to; null: it failed, or was late. */
type Granted = ReadonlySet<string> | null

interface Call {
  readonly question: Question
  readonly topics: string[]
  readonly granted: Promise<Granted>
  readonly settle: (granted: Granted) => void
}

/** The hook of one server. */
export class Authorizer {
  readonly #hook: NonNullable<ServerOptions['authorize']>
  readonly #timeoutMs: number
  readonly #cacheMs: number
  readonly #log: Log
  readonly #answer: (question: Question, granted: string[], hasFailed: boolean) => void
  readonly #added: Question[] = []
  #isClosed = false
  /** Clean answers by topic and user, the oldest first. */
  readonly #known = new Map<string, { isGranted: boolean; until: number }>()
  /** Calls that have not answered, by topic and user. */
  readonly #asked = new Map<string, Promise<Granted>>()

  /** `answer` lets the request that waits go on. */
  constructor(
    hook: NonNullable<ServerOptions['authorize']>,
    limits: { authorizeTimeoutMs: number; authorizeCacheMs: number },
    log: Log,
    answer: (question: Question, granted: string[], hasFailed: boolean) => void,
  ) {
    this.#hook = hook
    this.#timeoutMs = limits.authorizeTimeoutMs
    this.#cacheMs = limits.authorizeCacheMs
    this.#log = log
    this.#answer = answer
  }

  /** A question, to be asked with those that came with it. */
  add(question: Question): void {
    this.#added.push(question)
  }

  /** Asks what was added: calls the hook once for each connection, with what is neither known nor asked yet. */
  ask(): void {
    const calls = new Map<string, Call>()
    for (const question of this.#added.splice(0)) {
      const answers = question.topics.map((topic) => {
        const key = keyOf(question, topic)
        const answer = this.#recall(key) ?? this.#asked.get(key)
        if (answer !== undefined) return answer
        const call = calls.get(question.connId) ?? callFor(question)
        calls.set(question.connId, call)
        call.topics.push(topic)
        this.#asked.set(key, call.granted)
        return call.granted
      })
      void this.#reply(question, answers)
    }
    for (const call of calls.values()) void this.#call(call)
  }

  /** The claims of a user have changed: what was answered before may be different now. */
  forget(userId: string): void {
    const isOf = ownerOf({ userId, connId: '' })
    for (const answers of [this.#known, this.#asked]) {
      for (const key of answers.keys()) if (key.endsWith(isOf)) answers.delete(key)
    }
  }

  /** Nobody waits any more. */
  close(): void {
    this.#isClosed = true
  }

  #recall(key: string): boolean | undefined {
    const known = this.#known.get(key)
    if (known && known.until > performance.now()) return known.isGranted
    this.#known.delete(key)
    return undefined
  }

  async #reply(question: Question, answers: readonly (boolean | Promise<Granted>)[]): Promise<void> {
    const judged = await Promise.all(answers)
    const isGranted = (topic: string, place: number) => {
      const answer = judged[place]
      return typeof answer === 'boolean' ? answer : (answer?.has(topic) ?? false)
    }
    this.#answer(question, question.topics.filter(isGranted), judged.includes(null))
  }

  async #call({ question, topics, granted, settle }: Call): Promise<void> {
    const answer = await this.#ask(question, topics)
    for (const topic of topics) {
      const key = keyOf(question, topic)
      // Else it was forgotten meanwhile, and is not known any more.
      if (this.#asked.get(key) !== granted) continue
      this.#asked.delete(key)
      if (answer && this.#cacheMs > 0) this.#remember(key, answer.has(topic))
    }
    settle(answer)
  }

  #remember(key: string, isGranted: boolean): void {
    this.#known.delete(key)
    if (this.#known.size >= REMEMBERED) this.#known.delete(this.#known.keys().next().value as string)
    this.#known.set(key, { isGranted, until: performance.now() + this.#cacheMs })
  }

  /** It never rejects. */
  async #ask({ connId, userId, claims }: Question, topics: readonly string[]): Promise<Granted> {
    let timer: NodeJS.Timeout | undefined
    try {
      const connection: AuthorizeConnection = { connId, userId, claims: JSON.parse(claims) as JsonObject }
      const late = new Promise<never>((_, reject) => {
        const err = new Error(`no answer within ${this.#timeoutMs} ms`)
        if (this.#timeoutMs > 0) timer = setTimeout(() => reject(err), this.#timeoutMs).unref()
      })
      const answer: unknown = await Promise.race([this.#hook(connection, [...topics]), late])
      if (typeof answer === 'boolean') return new Set(answer ? topics : [])
      if (Array.isArray(answer) && answer.every((topic) => typeof topic === 'string')) return new Set(answer)
      throw new TypeError('authorize resolves to a list of topics, or to true or false for all of them')
    } catch (err) {
      const fields = { code: 'HANDLER_ERROR', callback: 'authorize', conn_id: connId, err }
      if (!this.#isClosed) this.#log.fault('WseAuthorizeWarning', 'authorize failed', fields)
      return null
    } finally {
      clearTimeout(timer)
    }
  }
}

function callFor(question: Question): Call {
  let settle: (granted: Granted) => void = () => {}
  const granted = new Promise<Granted>((resolve) => {
    settle = resolve
  })
  return { question, topics: [], granted, settle }
}

/** Whose answers are the same: a user's, or those of one anonymous connection. */
function ownerOf({ userId, connId }: Pick<Question, 'userId' | 'connId'>): string {
  return userId === null ? `\nconnection ${connId}` : `\nuser ${userId}`
}

/** No topic has a line break in it. */
const keyOf = (question: Question, topic: string): string => topic + ownerOf(question)
