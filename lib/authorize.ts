/**
 * Asks the application which topics a connection may have that the rules neither grant nor deny.
 *
 * Remembers its answers, and asks once for what a user wants on many connections. A hook that fails or is late denies.
 *
 * @module
 */
import { Answers, type Grant, type Granted } from './answers.js'
import type { Log } from './log.js'
import type { AuthorizeConnection, ServerOptions } from './options.js'
import type { JsonObject } from './types.js'

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

interface Call {
  readonly question: Question
  readonly topics: Set<string>
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
  /** Clean answers, and those of calls that have not answered. Empty where nothing is to be remembered. */
  readonly #answers = new Answers()

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
      const owner = ownerOf(question)
      const answers = question.topics.map((topic) => {
        const answer = this.#answers.get(owner, topic)
        if (answer) return answer.grant
        const call = calls.get(question.connId) ?? callFor(question)
        calls.set(question.connId, call)
        call.topics.add(topic)
        const grant = call.granted
        if (this.#cacheMs > 0) this.#answers.set(owner, topic, { grant, until: Number.POSITIVE_INFINITY })
        return grant
      })
      void this.#reply(question, answers)
    }
    for (const call of calls.values()) void this.#call(call)
  }

  /**
   * Forgets what was answered to a user, or to an anonymous connection: the claims have changed, or the application has
   * taken these topics away (null: all of them).
   */
  forget(whose: Pick<Question, 'userId' | 'connId'>, topics: readonly string[] | null): void {
    // What was added before was asked with the claims of then, and its answer is not for what comes.
    this.ask()
    this.#answers.forget(ownerOf(whose), topics)
  }

  /** Nobody waits any more. */
  close(): void {
    this.#isClosed = true
  }

  async #reply(question: Question, answers: readonly Grant[]): Promise<void> {
    // Of many topics few calls have to say.
    const judged = new Map<Grant | undefined, boolean | Granted>()
    for (const answer of new Set(answers)) judged.set(answer, await answer)
    const isGranted = (topic: string, place: number) => {
      const answer = judged.get(answers[place])
      return typeof answer === 'boolean' ? answer : (answer?.has(topic) ?? false)
    }
    this.#answer(question, question.topics.filter(isGranted), [...judged.values()].includes(null))
  }

  async #call({ question, topics, granted, settle }: Call): Promise<void> {
    const answer = await this.#ask(question, [...topics])
    const owner = ownerOf(question)
    const until = performance.now() + this.#cacheMs
    for (const topic of topics) {
      const known = this.#answers.get(owner, topic)
      // Else it was forgotten meanwhile, and is not known any more.
      if (known?.grant !== granted) continue
      if (answer) Object.assign(known, { grant: answer.has(topic), until })
      else this.#answers.forget(owner, [topic])
    }
    settle(answer)
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
  return { question, topics: new Set(), granted, settle }
}

/** Whose answers are the same: a user's, or those of one anonymous connection. */
function ownerOf({ userId, connId }: Pick<Question, 'userId' | 'connId'>): string {
  return userId === null ? `connection ${connId}` : `user ${userId}`
}
