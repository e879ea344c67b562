/** What one call costs the application's thread: the part that no other thread can take over. */
import { median } from '../measure.mjs'
import { MESSAGE_BYTES } from '../session.mjs'

const CALLS = 1000
const BURSTS = 60
/** Bursts before the code is compiled as it will stay. */
const WARMUP_BURSTS = 10

export default {
  name: 'broadcast-call',
  title: 'One call of broadcast, 128-byte text, one subscriber',
  unit: 'µs',
  isHigherBetter: false,
  peers: ['wse', 'ws', 'socketio', 'bun'],
  async run(session) {
    await session.listen()
    await session.connect(1)
    const { means } = await session.server.call('burst', { calls: CALLS, bursts: BURSTS, bytes: MESSAGE_BYTES })
    const end = await session.drained(CALLS * BURSTS)
    const warm = means.slice(WARMUP_BURSTS)
    return {
      value: median(warm) / 1000,
      least: Math.min(...warm) / 1000,
      most: Math.max(...warm) / 1000,
      lost: CALLS * BURSTS - end.counters.frames,
    }
  },
}
