/** How late a delivery is: the payload tells when the application published it. */
import { cost, difference } from '../measure.mjs'
import { MESSAGE_BYTES } from '../session.mjs'

const SUBSCRIBERS = 1000
const PER_SECOND = 20
const WARMUP_MESSAGES = 40
const MESSAGES = 400

export default {
  name: 'latency',
  title: 'Delivery time, 1 000 subscribers × 20 messages/s, p99',
  unit: 'ms',
  isHigherBetter: false,
  peers: ['wse', 'ws', 'socketio', 'bun', 'tokio'],
  async run(session) {
    await session.listen()
    await session.connect(SUBSCRIBERS)
    const tick = (messages) => session.server.call('tick', { perSecond: PER_SECOND, messages, bytes: MESSAGE_BYTES })
    await tick(WARMUP_MESSAGES)
    await session.drained(WARMUP_MESSAGES * SUBSCRIBERS)
    await session.load.call('time')
    const before = await session.mark()
    await tick(MESSAGES)
    await session.drained((WARMUP_MESSAGES + MESSAGES) * SUBSCRIBERS)
    const window = difference(before, await session.mark())
    const times = await session.load.call('times')
    return {
      value: times.p99Us / 1000,
      p50: times.p50Us / 1000,
      p999: times.p999Us / 1000,
      max: times.maxUs / 1000,
      lost: MESSAGES * SUBSCRIBERS - times.count,
      framesPerRead: window.framesPerRead,
      ...cost(window, window.frames),
    }
  },
}
