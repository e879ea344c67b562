// Things that arrive in their own time and are waited for with a deadline: messages, events, frames.
// Nothing is lost between two waits, and no wait is without an end.

/** How long any wait of a test may take, in milliseconds. Generous: it is an upper bound, never an expectation. */
export const DEADLINE_MS = 20_000

/** Resolves like `promise`, or rejects with an error that names what was awaited. */
export async function within<T>(promise: Promise<T>, what: string, deadlineMs = DEADLINE_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const expired = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${deadlineMs} ms: ${what}`)), deadlineMs)
  })
  try {
    return await Promise.race([promise, expired])
  } finally {
    clearTimeout(timer)
  }
}

/** Resolves once `isTrue` says so; asks in each turn of the event loop. */
export async function until(what: string, isTrue: () => boolean | Promise<boolean>): Promise<void> {
  const expiry = performance.now() + DEADLINE_MS
  while (!(await isTrue())) {
    if (performance.now() > expiry) throw new Error(`not within ${DEADLINE_MS} ms: ${what}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

interface Waiter<T> {
  matches: (item: T) => boolean
  resolve: (item: T) => void
  reject: (cause: Error) => void
}

export class Arrivals<T> {
  readonly #items: T[] = []
  readonly #waiters: Waiter<T>[] = []
  #end: string | null = null

  push(item: T): void {
    const index = this.#waiters.findIndex((waiter) => waiter.matches(item))
    if (index < 0) this.#items.push(item)
    else this.#waiters.splice(index, 1)[0]?.resolve(item)
  }

  /** Says that nothing more will come, and why; who still waits is told so. */
  end(reason: string): void {
    this.#end ??= reason
    for (const waiter of this.#waiters.splice(0)) waiter.reject(new Error(`ended: ${this.#end}`))
  }

  /** The first item that matches, taken out; those before it stay. Waits for it if it is not there yet. */
  next(what: string, matches: (item: T) => boolean = () => true): Promise<T> {
    const index = this.#items.findIndex(matches)
    if (index >= 0) return Promise.resolve(this.#items.splice(index, 1)[0] as T)
    const described = () => `${what}; waiting here: ${this.#items.length} others`
    if (this.#end !== null) return Promise.reject(new Error(`ended (${this.#end}) before ${described()}`))
    const arrival = new Promise<T>((resolve, reject) => this.#waiters.push({ matches, resolve, reject }))
    return within(arrival, what).catch((cause: Error) => {
      throw new Error(`${cause.message} (${described()})`, { cause })
    })
  }

  /** What has arrived and was not taken. */
  get waiting(): readonly T[] {
    return this.#items
  }
}

/** A promise, and the function that resolves it. */
export function gate(): [isOpen: Promise<void>, open: () => void] {
  let open: () => void = () => {}
  const isOpen = new Promise<void>((resolve) => {
    open = resolve
  })
  return [isOpen, open]
}
