/**
 * `tail`: subscribes to topics and prints what comes, until a signal ends it.
 *
 * Comes back when the connection is lost; what was published meanwhile is lost too. Stops reading while nobody takes
 * the output, so that the server's limits hold for it as for any slow reader.
 *
 * @module
 */
import { setTimeout as delay } from 'node:timers/promises'
import { type Command, named, parsed } from './arguments.js'
import { Client, describe, type Envelope, isFinal, Refusal } from './client.js'
import { escaped, lineOf } from './output.js'
import { TARGET_FLAGS, TARGET_USAGE, type Target, targetOf } from './target.js'

const usage = (): string => `Usage: wse-server tail URL TOPIC… [flags]

Subscribes to the topics and prints what comes, a line of JSON each, until it gets SIGINT (Ctrl-C) or SIGTERM. Comes
back by itself when the connection is lost, and says so on the standard error. The exit code is 1 when the server does
not want it, or none of the topics.

  --all              prints the protocol's own messages too
${TARGET_USAGE}`

/** Messages that only keep the connection going. */
const PLUMBING = new Set(['server_ready', 'server_hello', 'ping', 'PONG', 'heartbeat', 'subscription_update'])
const FIRST_DELAY_MS = 500
const LONGEST_DELAY_MS = 30_000
/** A server shows a sign of life every 25 s; one that is silent for so long is gone. */
const SILENCE_MS = 90_000
/** How long whoever reads the output may take for the rest of it. */
const FAREWELL_MS = 1_000

/** Prints lines, and stands a connection still while the output is full. */
function print(client: Client, line: string): void {
  if (process.stdout.write(`${line}\n`) || client.socket.isPaused) return
  client.socket.pause()
  process.stdout.once('drain', () => client.socket.resume())
}

/** Ends a connection on which nothing comes any more, not even a heartbeat. */
function watch(client: Client): void {
  const timer = setTimeout(() => {
    // Nothing is heard on a connection that stands still, whoever is there.
    if (client.socket.isPaused) timer.refresh()
    else client.socket.terminate()
  }, SILENCE_MS)
  for (const event of ['message', 'ping', 'pong']) client.socket.on(event, () => timer.refresh())
  void client.closed.then(() => clearTimeout(timer))
}

/** The time before the next try: doubled each time, and spread so that many clients do not come at once. */
function delayOf(failures: number): number {
  const most = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** failures)
  return most * (0.5 + Math.random() / 2)
}

class Tail {
  readonly #target: Target
  readonly #topics: string[]
  readonly #isAll: boolean
  readonly #stop = new AbortController()
  #hasSubscribed = false
  #failures = 0

  constructor(target: Target, topics: string[], isAll: boolean) {
    this.#target = target
    this.#topics = topics
    this.#isAll = isAll
  }

  stop(): void {
    this.#stop.abort()
  }

  /** Resolves when it is stopped or the server has ended it well; rejects when there is no point in going on. */
  async run(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      const ending = await this.#follow().catch((cause: Error) => {
        if (signal.aborted) return null
        if (!this.#hasSubscribed || (cause instanceof Refusal && cause.isFinal)) throw cause
        return cause.message
      })
      if (signal.aborted || ending === null) return
      const delayMs = delayOf(this.#failures++)
      console.error(`${escaped(ending)}; back in ${(delayMs / 1_000).toFixed(1)} s`)
      // Rejects when it is stopped, which the loop looks at.
      await delay(delayMs, undefined, { signal }).catch(() => {})
    }
  }

  /** One connection from its beginning to its end. Resolves with how it was lost; null: it ended well. */
  async #follow(): Promise<string | null> {
    const { signal } = this.#stop
    const onText = (text: string, envelope: Envelope | null, client: Client) => {
      if (this.#isAll || !envelope || !PLUMBING.has(envelope.t)) print(client, lineOf(text))
    }
    const client = await Client.open(this.#target, { onText, signal })
    const leave = () => void client.close()
    signal.addEventListener('abort', leave)
    try {
      watch(client)
      await this.#subscribe(client)
      const ending = await client.closed
      if (!isFinal(ending.code)) return describe(ending)
      if (ending.code >= 4000) throw new Refusal(describe(ending), { closing: ending })
      if (!signal.aborted) console.error(escaped(describe(ending)))
      return null
    } finally {
      signal.removeEventListener('abort', leave)
      client.socket.terminate()
    }
  }

  async #subscribe(client: Client): Promise<void> {
    const request = { action: 'subscribe', topics: this.#topics }
    const { p } = await client.ask('subscription_update', request, 'subscription_update')
    const refused = p.failed_topics as string[]
    if (refused.length > 0) console.error(escaped(`not allowed: ${refused.join(', ')}`))
    if (!p.success) throw new Refusal('none of the topics is allowed', { closing: { code: 4403, reason: '' } })
    console.error(escaped(`subscribed to ${(p.success_topics as string[]).join(', ')}`))
    this.#hasSubscribed = true
    this.#failures = 0
  }
}

async function run(args: string[]): Promise<number> {
  const { values, positionals } = parsed(args, { ...TARGET_FLAGS, all: { type: 'boolean', default: false } })
  named(positionals.slice(0, 2), ['url', 'topic'])
  const [address = '', ...topics] = positionals
  const tail = new Tail(targetOf(address, values), topics, values.all)
  // A second signal ends the process at once: nobody listens for it any more.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => tail.stop())
  // Nobody reads any more: there is nothing left to do.
  process.stdout.once('error', () => tail.stop())
  try {
    await tail.run()
    return 0
  } finally {
    // Lines that nobody takes would keep the process alive.
    setTimeout(() => process.exit(), FAREWELL_MS).unref()
  }
}

export const tail: Command = { usage, run }
