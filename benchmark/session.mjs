/**
 * One peer under one scenario, once: a fresh server, a fresh load generator, and what both say.
 *
 * Owns the two processes and ends them with itself. Knows no scenario.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { LineProcess } from './line-process.mjs'
import { difference } from './measure.mjs'
import { cpuTime, residentMemory } from './process-usage.mjs'

const SERVER_CORE = 0
const LOAD_CORE = 1
/** Bytes of every message. */
export const MESSAGE_BYTES = 128
/** How long a server may take until it has seen what the load did. */
const AGREEMENT_MS = 15_000

export class Session {
  #loadProgram
  #certificate
  #isPinned
  #target
  #stalled = []

  /** `isPinned`: whether server and load keep to a core each; `certificate`: for peers that speak TLS. */
  constructor(peer, { loadProgram, timing, certificate, isPinned = true }) {
    this.peer = peer
    this.timing = timing
    this.#loadProgram = loadProgram
    this.#certificate = certificate
    this.#isPinned = isPinned
  }

  /** Starts both and makes the server listen; `tokens` are what its clients show, when it asks for one. */
  async listen(options = {}, tokens = null) {
    const { name, command, isSecure = false, algorithm = 'HS256' } = this.peer
    const issued = tokens?.of(algorithm)
    this.server = new LineProcess(name, command, { core: this.#isPinned ? SERVER_CORE : null })
    this.load = new LineProcess('load', [this.#loadProgram], { core: this.#isPinned ? LOAD_CORE : null })
    const { port, path, greeting, engineIo, ...about } = await this.server.call('open', {
      ...this.peer.options,
      ...options,
      ...(isSecure && { tls: this.#certificate }),
      ...(issued && { jwt: issued.jwt }),
    })
    this.#target = { port, path, greeting, engineIo, isSecure, ...(issued && { tokenFile: issued.file }) }
    this.about = about
  }

  /** Opens so many connections, in equal parts with each query of the peer, and waits until the server has them all. */
  async connect(connections, concurrency = 64) {
    const { queries = [''] } = this.peer
    for (const [index, query] of queries.entries()) {
      const wanted = Math.round((connections * (index + 1)) / queries.length)
      const target = { ...this.#target, path: `${this.#target.path}${query && `?${query}`}` }
      const { live, failure } = await this.load.call('connect', { ...target, connections: wanted, concurrency })
      if (live !== wanted) throw new Error(`${live} of ${wanted} connected: ${failure}`)
    }
    await this.agree(connections)
  }

  /** Opens connections that read nothing behind the answer to their upgrade. */
  async stall(connections) {
    const { port, path } = this.#target
    const head = ['Host: 127.0.0.1', 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13']
    const key = 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=='
    for (let number = 0; number < connections; number++) {
      const socket = connect(port, '127.0.0.1')
      // Being closed for it is no failure of the measurement.
      socket.on('error', () => {})
      socket.write(`GET ${path} HTTP/1.1\r\n${[...head, key].join('\r\n')}\r\n\r\n`)
      await once(socket, 'readable')
      this.#stalled.push(socket)
    }
  }

  /** Closes all connections and waits until the server has noticed. */
  async disconnect() {
    await this.load.call('close')
    await this.agree(0)
  }

  /** Waits until the server counts so many subscribers. */
  async agree(connections) {
    const deadline = performance.now() + AGREEMENT_MS
    let count
    while (performance.now() < deadline) {
      count = (await this.server.call('count')).subscribers
      if (count === connections) return
      await pause(20)
    }
    throw new Error(`${this.peer.name} has ${count} subscribers, not ${connections}`)
  }

  /** Opens and closes connections without end. */
  churn(concurrency) {
    return this.load.call('churn', { ...this.#target, concurrency })
  }

  /** The text that the load sends so that this server hears `text`. */
  wire(text) {
    return this.#target.engineIo ? `42${JSON.stringify(['m', text])}` : text
  }

  /** Every client sends `text` once, `{i}` in it its number; resolves when so many messages have come behind it. */
  say(text, answers) {
    return this.load.call('say', { text, answers })
  }

  async mark() {
    const load = await this.load.call('mark')
    return { load, serverCpu: cpuTime(this.server.pid), loadCpu: cpuTime(this.load.pid) }
  }

  /** What happens in the time of one measurement, after the warm-up. */
  async measure() {
    await pause(this.timing.warmupMs)
    const before = await this.mark()
    await pause(this.timing.measureMs)
    return difference(before, await this.mark())
  }

  /** Waits until the load has received `frames` or nothing more comes; resolves to the last mark. */
  async drained(frames) {
    let last = await this.load.call('mark')
    for (let idle = 0; idle < 10 && last.counters.frames < frames; ) {
      await pause(100)
      const next = await this.load.call('mark')
      idle = next.counters.frames === last.counters.frames ? idle + 1 : 0
      last = next
    }
    return last
  }

  /** The server's memory after a collection of its garbage, and JavaScript's part, where it has one. */
  async memory() {
    await this.server.call('collect')
    const { heapBytes } = await this.server.call('collect')
    return { ...residentMemory(this.server.pid), heapBytes }
  }

  async close() {
    // The load first: to it, a server that goes away is a failure.
    for (const socket of this.#stalled) socket.destroy()
    await this.load?.close()
    await this.server?.close()
  }
}
