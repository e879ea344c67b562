/**
 * What a connection weighs that only waits, and what is left of it when it has gone.
 */
import { setTimeout as pause } from 'node:timers/promises'

const CONNECTIONS = 10_000
const CYCLES = 2
/** Come and go first, so that code which is loaded once does not count as a connection's memory. */
const WARMUP_CONNECTIONS = 100
const SETTLE_MS = 1000
const AFTER_CLOSE_MS = 5000

/** A scenario; `hasToken(peer)` says whose clients show a token, so that they have a user. */
export function idleMemory({ name, title, peers, hasToken }) {
  return {
    name,
    title: `${title}, 10 000 of them`,
    unit: 'KiB',
    isHigherBetter: false,
    peers,
    descriptors: CONNECTIONS + 100,
    async run(session, tokens) {
      await session.listen({}, hasToken(session.peer.name) ? tokens : null)
      await session.connect(WARMUP_CONNECTIONS)
      await session.disconnect()
      const empty = await session.memory()
      const cycles = []
      for (let cycle = 0; cycle < CYCLES; cycle++) {
        await session.connect(CONNECTIONS)
        await pause(SETTLE_MS)
        const open = await session.memory()
        await session.disconnect()
        await pause(AFTER_CLOSE_MS)
        cycles.push({ open, left: await session.memory() })
      }
      const [first, second] = cycles
      return {
        value: (first.open.bytes - empty.bytes) / CONNECTIONS / 1024,
        secondValue: (second.open.bytes - first.left.bytes) / CONNECTIONS / 1024,
        leftMb: (first.left.bytes - empty.bytes) / 1e6,
        codeLeftMb: (first.left.codeBytes - empty.codeBytes) / 1e6,
        heapLeftMb: (first.left.heapBytes - empty.heapBytes) / 1e6,
        addedBySecondMb: (second.left.bytes - first.left.bytes) / 1e6,
        emptyMb: empty.bytes / 1e6,
      }
    },
  }
}
