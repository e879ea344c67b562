/** What a message weighs that is kept in a log, by the kernel's count and by the server's own. */
import { logged } from '../recovery.mjs'

const EACH = 256
const TOPICS = 782
const BYTES = 100
/** Through one log first, so that what publishing itself takes does not count. */
const WARMUP_MESSAGES = 50_000

export default {
  name: 'log-memory',
  title: 'One of 200 000 messages of 100 bytes in logs of 256',
  unit: 'bytes',
  isHigherBetter: false,
  peers: [logged],
  async run(session) {
    await session.listen()
    await session.server.call('log', { topics: 1, each: WARMUP_MESSAGES, bytes: BYTES })
    const before = { ...(await session.memory()), log: await session.server.call('logged') }
    await session.server.call('log', { topics: TOPICS, each: EACH, bytes: BYTES })
    const after = { ...(await session.memory()), log: await session.server.call('logged') }
    // The first log was full already.
    const messages = (TOPICS - 1) * EACH
    return {
      value: (after.bytes - before.bytes) / messages,
      countedBytes: (after.log.bytes - before.log.bytes) / messages,
      heapMb: (after.heapBytes - before.heapBytes) / 1e6,
    }
  },
}
