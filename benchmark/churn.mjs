/**
 * Handshakes: connections that are opened and closed again, sixty-four at a time.
 */
import { cost } from './measure.mjs'

const CONCURRENCY = 64

/** A scenario; `options` are the server's, `hasToken(peer)` says who verifies one. */
export function churn({ name, title, peers, options, hasToken }) {
  return {
    name,
    title,
    unit: 'handshakes/s',
    isHigherBetter: true,
    peers,
    async run(session, tokens) {
      await session.listen({ ...options, mode: 'churn' }, hasToken(session.peer.name) ? tokens : null)
      await session.churn(CONCURRENCY)
      const window = await session.measure()
      const { errors, failure } = await session.load.call('stop')
      return { value: window.handshakesPerSecond, ...cost(window, window.handshakes), errors, failure }
    },
  }
}
