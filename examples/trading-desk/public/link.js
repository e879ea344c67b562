// The connection to the desk: opens it, watches it, opens it again. Knows nothing about what the messages mean.
const LONGEST_WAIT_MS = 8_000
const SILENCE_MS = 8_000

/** Close codes after which trying again cannot help. */
const FINAL = { 4401: 'signed-out', 4403: 'elsewhere' }

export class Link {
  /** connecting · connected · reconnecting · offline · elsewhere · signed-out */
  state = 'connecting'
  /** How often it has tried since it was connected. */
  attempt = 0
  /** When it tries again, as `Date.now()`; undefined while it is trying. */
  retryAt
  /** Of the last ping, and how many messages came in the last second. */
  latencyMs
  rate = 0
  #receive
  #changed
  #socket
  #timer
  #received = 0
  #pingedAt = 0
  #heardAt = 0

  /**
   * `receive` gets each message, one after the other: the next one waits for its promise, and a rejection counts as
   * a lost connection. `changed` is told of each new state.
   */
  constructor(receive, changed) {
    this.#receive = receive
    this.#changed = changed
    addEventListener('offline', () => this.#lost())
    addEventListener('online', () => this.state === 'offline' && this.connect())
    setInterval(() => this.#ping(), 1_000)
  }

  connect() {
    this.#release()
    this.attempt += 1
    if (FINAL_STATES.has(this.state)) this.state = 'connecting'
    this.#changed(this)
    const socket = new WebSocket(`${location.origin.replace('http', 'ws')}/wse`)
    let turn = Promise.resolve()
    this.#socket = socket
    this.#heardAt = performance.now()
    socket.onclose = ({ code }) => (FINAL[code] ? this.#end(FINAL[code]) : this.#lost())
    socket.onmessage = ({ data }) => {
      this.#heardAt = performance.now()
      this.#received += 1
      const message = JSON.parse(data)
      if (message.t === 'PONG') this.latencyMs = performance.now() - this.#pingedAt
      const isCurrent = () => socket === this.#socket
      turn = turn.then(() => isCurrent() && this.#receive(message)).catch((error) => isCurrent() && this.#failed(error))
    }
  }

  /** The page is up to date: from here on it shows what is true. */
  settle() {
    this.attempt = 0
    this.#enter('connected')
  }

  /** Nobody is signed in: tries no more. */
  signOut() {
    this.#end('signed-out')
  }

  /** A message could not be applied: 401 means that nobody is signed in, all else that the page has to start over. */
  #failed(error) {
    if (error.status === 401) this.signOut()
    else this.#lost()
    if (error.status === undefined) throw error // A fault of the page and not of the desk.
  }

  #lost() {
    this.#release()
    if (FINAL_STATES.has(this.state)) return
    const wait = Math.min(250 * 2 ** this.attempt, LONGEST_WAIT_MS) * (0.5 + Math.random() / 2)
    this.#timer = setTimeout(() => this.connect(), wait)
    this.retryAt = Date.now() + wait
    this.#enter(navigator.onLine ? 'reconnecting' : 'offline') // Tries in both: this machine is reachable without a net.
  }

  #end(state) {
    this.#release()
    this.attempt = 0
    this.#enter(state)
  }

  #enter(state) {
    this.state = state
    this.#changed(this)
  }

  /** Whatever an earlier socket still says is no concern of ours any more. */
  #release() {
    clearTimeout(this.#timer)
    this.retryAt = undefined
    if (this.#socket === undefined) return
    this.#socket.onclose = this.#socket.onmessage = null
    this.#socket.close()
    this.#socket = undefined
  }

  /** A network that vanishes closes nothing: who stays silent though asked each second is gone. */
  #ping() {
    this.rate = this.#received
    this.#received = 0
    if (this.#socket?.readyState === WebSocket.OPEN) {
      this.#pingedAt = performance.now()
      this.#socket.send(JSON.stringify({ t: 'ping', p: { timestamp: Date.now() } }))
    }
    if (this.#socket !== undefined && performance.now() - this.#heardAt > SILENCE_MS) this.#lost()
    else this.#changed(this)
  }
}

const FINAL_STATES = new Set(Object.values(FINAL))
