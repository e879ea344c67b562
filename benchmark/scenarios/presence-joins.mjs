/**
 * Joins of a topic that a thousand users leave and enter again and again, while all of them hold another one: what the
 * registry, the application's calls and the deltas cost together. One join is one leave, too.
 */
import { cost, difference } from '../measure.mjs'

const USERS = 1000

export default {
  name: 'presence-joins',
  title: 'Users who leave a topic of 1 000 and enter it again',
  unit: 'joins/s',
  isHigherBetter: true,
  peers: ['wse-presence'],
  async run(session, tokens) {
    await session.listen({}, tokens)
    await session.connect(USERS)
    await session.server.call('rejoin', { ms: session.timing.warmupMs })
    const before = await session.mark()
    const { joins } = await session.server.call('rejoin', { ms: session.timing.measureMs })
    const window = difference(before, await session.mark())
    return { value: joins / window.seconds, ...cost(window, joins) }
  },
}
