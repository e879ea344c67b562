/**
 * Fan-out of one topic to many, counted at the far end. The scenarios differ in numbers only.
 */
import { cost } from './measure.mjs'
import { MESSAGE_BYTES } from './session.mjs'

/** Longer than warm-up and measurement, so that both lie inside the publishing. */
const MARGIN_MS = 500

/** Who is compared unless a scenario says otherwise. */
const PEERS = ['wse', 'wse-ahead', 'wse-envelope', 'ws', 'socketio', 'bun', 'tokio']

/** A scenario: `perTurn` messages in each turn of the host's event loop, to `subscribers` connections; `kind` is theirs. */
export function fanOut({ name, title, subscribers, perTurn, peers = PEERS, bytes = MESSAGE_BYTES, kind }) {
  return {
    name,
    title,
    unit: 'deliveries/s',
    isHigherBetter: true,
    peers,
    async run(session) {
      await session.listen()
      await session.connect(subscribers)
      const ms = session.timing.warmupMs + session.timing.measureMs + MARGIN_MS
      const publishing = session.server.call('publish', { perTurn, ms, bytes, kind })
      const window = await session.measure()
      const { messages, turns, waits } = await publishing
      const end = await session.drained(messages * subscribers)
      return {
        value: window.framesPerSecond,
        framesPerRead: window.framesPerRead,
        ...cost(window, window.frames),
        published: messages,
        turns,
        waits,
        lost: messages * subscribers - end.counters.frames,
        fewest: end.fewest,
        most: end.most,
      }
    },
  }
}
