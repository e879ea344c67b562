// A client that keeps a ledger of topics with a log: what it got, in which order, and what it was told of the rest.
import { Reader, type ReaderOptions, subscribing } from './reader.js'

interface Account {
  epoch: string | undefined
  /** The offset of the last publication, or of where it was told to go on. */
  last: number
  /** Its request is answered. */
  isOpen: boolean
}

interface Answer {
  readonly epoch: string
  readonly offset: number
  readonly recovered: boolean
}

/**
 * Follows topics whose publications carry their own offset as `p.n`. Whatever is missing, comes twice or in another
 * order than its offset without having been announced is a fault.
 */
export class Follower {
  readonly faults: string[] = []
  /** Returns that got everything, and those that were told that they cannot. */
  recovered = 0
  announced = 0
  reader: Reader | undefined
  /** What it was told when the server sent it away. */
  farewell: { readonly retry_after_ms: number; readonly ticket: string } | undefined
  readonly #accounts: Map<string, Account>
  #open = 0

  constructor(topics: readonly string[]) {
    this.#accounts = new Map(topics.map((topic) => [topic, { epoch: undefined, last: 0, isOpen: false }]))
  }

  /** Connects, and asks for what it has missed. */
  come(port: number, options: ReaderOptions = {}): Reader {
    const recovery: Record<string, object> = {}
    for (const [topic, account] of this.#accounts) {
      const { epoch, last } = account
      if (epoch !== undefined) recovery[topic] = { epoch, offset: last }
      account.isOpen = false
    }
    this.#open = 0
    const request = subscribing([...this.#accounts.keys()], { recover: true, recovery })
    const onMessage = (payload: Buffer) => this.#take(payload.toString())
    this.reader = new Reader(port, { ...options, says: [request, ...(options.says ?? [])], onMessage })
    return this.reader
  }

  /** Breaks off. */
  leave(): void {
    this.reader?.cut()
    this.reader = undefined
  }

  /** Whether all its topics are answered. */
  get isSettled(): boolean {
    return this.#open === this.#accounts.size
  }

  /** Whether it is there and has everything up to these offsets. */
  isAt(heads: ReadonlyMap<string, number>): boolean {
    if (!this.isSettled) return false
    for (const [topic, { last }] of this.#accounts) if (last !== (heads.get(topic) ?? 0)) return false
    return true
  }

  /** Whether it has everything up to these offsets, if not more. */
  has(heads: ReadonlyMap<string, number>): boolean {
    for (const [topic, { last }] of this.#accounts) if (last < (heads.get(topic) ?? 0)) return false
    return true
  }

  #take(text: string): void {
    if (!text.startsWith('{"tp":')) {
      this.#hear(text)
      return
    }
    const { tp, e, o, p } = JSON.parse(text)
    const account = this.#accounts.get(tp)
    if (!account) this.faults.push(`a topic that was not asked for: ${text}`)
    else if (o !== account.last + 1 || p.n !== o || (account.isOpen && e !== account.epoch)) {
      this.faults.push(`behind ${account.last} of ${account.epoch}: ${text}`)
    } else account.last = o
  }

  #hear(text: string): void {
    const { t, p } = JSON.parse(text)
    if (t === 'gap') {
      const account = this.#accounts.get(p.topic)
      if (account && p.from === account.last + 1) account.last = p.to
      else this.faults.push(`a gap that is none: ${text}`)
    } else if (t === 'subscription_update') this.#answered(p)
    else if (t === 'server_draining') this.farewell = p
    else if (t === 'error') this.faults.push(text)
  }

  #answered({ recovery }: { recovery: Record<string, Answer> }): void {
    for (const [topic, { epoch, offset, recovered }] of Object.entries(recovery)) {
      const account = this.#accounts.get(topic)
      if (!account || account.isOpen) {
        this.faults.push(`an answer that nobody waits for: ${topic}`)
        continue
      }
      if (account.epoch !== undefined && recovered) {
        this.recovered += 1
        if (offset !== account.last || epoch !== account.epoch)
          this.faults.push(`${topic}: answered ${offset}, got ${account.last}`)
      } else {
        if (account.epoch !== undefined) this.announced += 1
        account.epoch = epoch
        account.last = offset
      }
      account.isOpen = true
      this.#open += 1
    }
  }
}
