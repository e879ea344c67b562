/**
 * A process that is steered by lines of JSON: every server of the benchmark, and the load generator.
 *
 * Owns the process from start to end. Each command has a deadline, and closing never waits for good will.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'

/** How long a process may take to leave after its input ended. */
const EXIT_MS = 300

export class LineProcess {
  #child
  #name
  #next = 1
  #waiting = new Map()

  /** Starts `command` on `core`, or wherever the kernel likes when it is null. */
  constructor(name, command, { core = null } = {}) {
    const [program, ...parameters] = core === null ? command : ['taskset', '-c', String(core), ...command]
    this.#name = name
    this.#child = spawn(program, parameters, { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#child.on('error', (error) => this.#fail(error))
    this.#child.on('exit', (code, signal) => this.#fail(new Error(`${name} ended: ${signal ?? code}`)))
    // What is written to a process that has ended is lost; the `exit` above tells whoever waits.
    this.#child.stdin.on('error', () => {})
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#settle(line))
  }

  get pid() {
    return this.#child.pid
  }

  /** Sends a command and resolves to its result; rejects when it fails or takes longer than `deadlineMs`. */
  call(verb, options = {}, deadlineMs = 60_000) {
    const id = this.#next++
    return new Promise((resolve, reject) => {
      const late = () => this.#settle(JSON.stringify({ id, error: `no answer in ${deadlineMs} ms` }))
      this.#waiting.set(id, { verb, resolve, reject, timer: setTimeout(late, deadlineMs) })
      this.#child.stdin.write(`${JSON.stringify({ id, do: verb, ...options })}\n`)
    })
  }

  #settle(line) {
    const { id, result, error } = JSON.parse(line)
    const call = this.#waiting.get(id)
    if (!call) return
    this.#waiting.delete(id)
    clearTimeout(call.timer)
    if (error === undefined) call.resolve(result)
    else call.reject(new Error(`${this.#name}, ${call.verb}: ${error}`))
  }

  #fail(error) {
    for (const [id] of this.#waiting) this.#settle(JSON.stringify({ id, error: error.message }))
  }

  /** Ends the input, and the process if that does not. */
  async close() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exit = once(this.#child, 'exit')
    this.#child.stdin.end()
    await Promise.race([exit, pause(EXIT_MS, undefined, { ref: false })])
    if (this.#child.exitCode === null) this.#child.kill('SIGKILL')
    await exit
  }
}
