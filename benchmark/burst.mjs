/**
 * What calls that publish cost the application's thread, in bursts. The scenarios differ in who is called.
 */
import { median } from './measure.mjs'
import { MESSAGE_BYTES } from './session.mjs'

const CALLS = 1000
const BURSTS = 60
/** Bursts before the code is compiled as it will stay. */
const WARMUP_BURSTS = 10

/** A scenario. */
export function burst({ name, title, peers }) {
  return {
    name,
    title,
    unit: 'µs',
    isHigherBetter: false,
    peers,
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
}
