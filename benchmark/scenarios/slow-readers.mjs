/** What readers that have stopped cost the others: how late a delivery to these is, with a tenth of them and without. */
import { cost, difference } from '../measure.mjs'

const HEALTHY = 90
const STALLED = 10
const PER_SECOND = 50
/** Large enough that the kernel's buffers of a reader that has stopped are full after a second. */
const BYTES = 16 << 10
const WARMUP_MESSAGES = 200
const MESSAGES = 400

export default {
  name: 'slow-readers',
  title: 'Delivery time to 90 readers beside 10 that have stopped, 50 messages/s of 16 KiB, p99',
  unit: 'ms',
  isHigherBetter: false,
  // Not tokio: a full channel holds that sender up, so one reader that has stopped stops all.
  peers: ['wse', 'ws', 'bun'],
  async run(session) {
    await session.listen()
    await session.connect(HEALTHY)
    const alone = await timed(session)
    await session.stall(STALLED)
    await session.agree(HEALTHY + STALLED)
    const beside = await timed(session)
    return {
      value: beside.times.p99Us / 1000,
      p50: beside.times.p50Us / 1000,
      max: beside.times.maxUs / 1000,
      aloneP99: alone.times.p99Us / 1000,
      lost: MESSAGES * HEALTHY - beside.times.count,
      ...cost(beside.window, beside.window.frames),
    }
  },
}

/** Times of deliveries to those who read, after as many that warm up, or fill the buffers of those who do not. */
async function timed(session) {
  const received = (await session.mark()).load.counters.frames
  const tick = (messages) => session.server.call('tick', { perSecond: PER_SECOND, messages, bytes: BYTES })
  await tick(WARMUP_MESSAGES)
  await session.drained(received + WARMUP_MESSAGES * HEALTHY)
  await session.load.call('time')
  const before = await session.mark()
  await tick(MESSAGES)
  await session.drained(received + (WARMUP_MESSAGES + MESSAGES) * HEALTHY)
  const window = difference(before, await session.mark())
  return { times: await session.load.call('times'), window }
}
