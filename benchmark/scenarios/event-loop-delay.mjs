/** What a million deliveries do to everything else that the host's event loop has to serve. */
import { setTimeout as pause } from 'node:timers/promises'
import { MESSAGE_BYTES } from '../session.mjs'

const SUBSCRIBERS = 1000
const MESSAGES = 1000
const MAX_MS = 60_000

export default {
  name: 'event-loop-delay',
  title: 'Delay of the event loop while 1 M deliveries go out, p99 over idle',
  unit: 'ms',
  isHigherBetter: false,
  isPinned: false,
  peers: ['wse', 'ws', 'socketio', 'bun'],
  async run(session) {
    await session.listen()
    const { server } = session
    await session.connect(SUBSCRIBERS)
    await server.call('watch')
    await pause(session.timing.measureMs)
    const idle = await server.call('watched')
    await server.call('watch')
    const begin = performance.now()
    const { messages } = await server.call('publish', {
      perTurn: 1,
      ms: MAX_MS,
      messages: MESSAGES,
      bytes: MESSAGE_BYTES,
    })
    const end = await session.drained(MESSAGES * SUBSCRIBERS)
    const seconds = (performance.now() - begin) / 1000
    const busy = await server.call('watched')
    return {
      value: Math.max(0, busy.p99 - idle.p99),
      idleP99: idle.p99,
      busyP50: busy.p50,
      busyP99: busy.p99,
      busyMax: busy.max,
      seconds,
      lost: messages * SUBSCRIBERS - end.counters.frames,
    }
  },
}
