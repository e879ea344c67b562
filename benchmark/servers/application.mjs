/**
 * The application of the benchmarks, the same on every server that runs JavaScript.
 *
 * Publishes, counts what comes in and watches its own event loop. Never touches a socket: that is the
 * peer's part, an object with
 *
 * - `open(options, application)`: starts to listen; resolves to `{ port, path, versions, options }`
 * - `subscribers()`: connections that the topic has
 * - `publish(text)`: hands one message for all subscribers to the server
 * - `backlog(perTurn)`: how far behind the server is; 1 or more and the sender waits
 * - `now()`: the kernel's monotonic clock in nanoseconds, for payloads that tell their time
 * - `collect()`: a full garbage collection
 * - `log(options)`, `logBytes()`, of those with logs: publishes to topics of their own; what the server counts for all logs
 * - `rejoin(ms)`, of those with presence: lets users leave a topic and enter it again; resolves to the number of joins
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises'
import { obey } from './commands.mjs'
import { numbered, quotes, timed } from './message.mjs'

/** Every how many characters of a text the application looks at one. */
const STRIDE = 16

export class Application {
  #peer
  #messages = 0
  #touched = 0
  #delay = null

  constructor(peer) {
    this.#peer = peer
  }

  /** Takes a message that came in and looks at its characters, as far as any parser would have to. */
  receive(text) {
    let sum = 0
    for (let at = 0; at < text.length; at += STRIDE) sum += text.charCodeAt(at)
    this.#touched += sum
    this.#messages++
  }

  /** Serves the benchmark until its end. */
  run() {
    return obey({
      open: (options) => this.#peer.open(options, this),
      count: () => ({ subscribers: this.#peer.subscribers() }),
      collect: () => this.#collect(),
      inbound: () => ({ now: Number(this.#peer.now()), messages: this.#messages, touched: this.#touched }),
      publish: (options) => this.#publish(options),
      tick: (options) => this.#tick(options),
      burst: (options) => this.#burst(options),
      log: async (options) => ({ epochs: await this.#peer.log(options) }),
      logged: () => ({ bytes: this.#peer.logBytes() }),
      rejoin: async ({ ms }) => ({ joins: await this.#peer.rejoin(ms) }),
      watch: () => this.#watch(),
      watched: () => this.#watched(),
    })
  }

  #collect() {
    this.#peer.collect()
    return { heapBytes: process.memoryUsage().heapTotal }
  }

  /**
   * Publishes `perTurn` messages of a kind in each turn of the event loop, for `ms` or until `messages` are out.
   *
   * A server that is behind is waited for in steps of the timer, so that the waiting costs no CPU.
   */
  async #publish({ perTurn, ms, messages = Number.POSITIVE_INFINITY, bytes, kind = 'numbered' }) {
    const make = { numbered, quotes }[kind]
    const end = performance.now() + ms
    let published = 0
    let turns = 0
    let waits = 0
    while (published < messages && performance.now() < end) {
      if (this.#peer.backlog(perTurn) >= 1) {
        waits++
        await pause(1)
        continue
      }
      for (let count = 0; count < perTurn; count++) this.#peer.publish(make(published++, bytes))
      turns++
      await nextTurn()
    }
    return { messages: published, turns, waits }
  }

  /** Publishes at even distances, each message with the time in it. */
  async #tick({ perSecond, messages, bytes }) {
    const start = performance.now()
    for (let number = 1; number <= messages; number++) {
      await pause(Math.max(0, start + (number * 1000) / perSecond - performance.now()))
      this.#peer.publish(timed(this.#peer.now(), bytes))
    }
    return { messages }
  }

  /** Times bursts of calls, until the last has been answered; resolves to the mean of each in nanoseconds a call. */
  async #burst({ calls, bursts, bytes }) {
    const texts = Array.from({ length: calls }, (_, number) => numbered(number, bytes))
    const means = []
    for (let burst = 0; burst < bursts; burst++) {
      const start = performance.now()
      let last
      for (const text of texts) last = this.#peer.publish(text)
      await last
      means.push(((performance.now() - start) * 1e6) / calls)
      await pause(20)
    }
    return { means }
  }

  #watch() {
    this.#delay = monitorEventLoopDelay({ resolution: 1 })
    this.#delay.enable()
  }

  #watched() {
    this.#delay.disable()
    const ms = (nanoseconds) => nanoseconds / 1e6
    const { mean, max } = this.#delay
    return { p50: ms(this.#delay.percentile(50)), p99: ms(this.#delay.percentile(99)), mean: ms(mean), max: ms(max) }
  }
}
