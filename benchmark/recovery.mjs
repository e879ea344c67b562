/**
 * Logs: rows with them and without, and clients that ask for what they missed.
 */
import { cost, difference, median } from './measure.mjs'
import { peers } from './peers.mjs'
import { MESSAGE_BYTES } from './session.mjs'

const named = (wanted) => peers.find(({ name }) => name === wanted)

/** The same messages without stamps and with them: as each other's measure both have all rounds. */
export const plain = { ...named('wse-envelope'), isBackground: false }
export const logged = named('wse-recovery')

/** A row whose clients may hold any topic; `settings` are the server's. */
export function open(name, label, settings, row = {}) {
  return {
    ...plain,
    name,
    label,
    options: { envelope: true, settings: { topics: { allow: ['*'] }, ...settings } },
    ...row,
  }
}

/** What a client sends to hold `topics`, with positions when it has some, or to give them up. */
export function request(action, topics, positions) {
  const recovery = positions && { recover: true, recovery: positions }
  return JSON.stringify({ t: 'subscription_update', p: { action, topics, ...recovery } })
}

/**
 * A scenario: all `clients` ask at once for everything in logs, as soon as the time before they had it all, until the
 * measurement is over. A row has `topics` with `each` publications. `valueFrom` makes the figure of the publications that
 * came in all and the milliseconds of each time.
 */
export function replay({ name, title, unit, isHigherBetter, clients, peers, valueFrom }) {
  return {
    name,
    title,
    unit,
    isHigherBetter,
    peers,
    async run(session) {
      const { topics, each } = session.peer
      await session.listen()
      const { epochs } = await session.server.call('log', { topics, each, bytes: MESSAGE_BYTES })
      await session.connect(clients)
      const crowd = new Crowd(session, { clients, each, epochs })
      await crowd.repeat(session.timing.warmupMs)
      const before = await session.mark()
      const times = await crowd.repeat(session.timing.measureMs)
      const window = difference(before, await session.mark())
      return {
        value: valueFrom({ publications: times.length * clients * topics * each, times }),
        times: times.length,
        framesPerRead: window.framesPerRead,
        ...cost(window, window.frames),
      }
    },
  }
}

/** Clients that lose their place together, and ask for everything. */
class Crowd {
  #session
  #asking
  #leaving
  #answers
  #clients

  constructor(session, { clients, each, epochs }) {
    const topics = Object.keys(epochs)
    const positions = Object.entries(epochs).map(([topic, epoch]) => [topic, { epoch, offset: 0 }])
    this.#session = session
    this.#asking = request('subscribe', topics, Object.fromEntries(positions))
    this.#leaving = request('unsubscribe', topics)
    this.#clients = clients
    // Behind the publications comes the reply.
    this.#answers = clients * (topics.length * each + 1)
  }

  /** Again and again for `ms`, once at least; resolves to the milliseconds of each time. */
  async repeat(ms) {
    const end = performance.now() + ms
    const times = []
    do {
      const { now: asked } = await this.#session.load.call('mark')
      const { now: answered, failure } = await this.#session.say(this.#asking, this.#answers)
      if (failure) throw new Error(failure)
      times.push((answered - asked) / 1e6)
      await this.#session.say(this.#leaving, this.#clients)
    } while (performance.now() < end)
    return times
  }
}

/** Publications a second, while they are asked for. */
export const rate = ({ publications, times }) => publications / (times.reduce((sum, ms) => sum + ms) / 1000)
/** Until the last one has all. */
export const untilAll = ({ times }) => median(times)
