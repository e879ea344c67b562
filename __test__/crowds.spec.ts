// What holds for one connection holds for a thousand at once.
import { setImmediate as turn } from 'node:timers/promises'
import test from 'ava'
import { until } from './harness/arrivals.js'
import { Reader, subscribing } from './harness/reader.js'
import { Application, startServer } from './harness/server.js'

test('delivers everything to 990 subscribers beside ten who never read, and ends these', async (t) => {
  const MESSAGES = 2_000
  const memoryBudgetBytes = 32 << 20
  const outbound = { slowTimeoutMs: 1_000 }
  const server = await startServer(t, { topics: { allow: ['news'] }, memoryBudgetBytes, outbound })
  const application = new Application(server)
  const readers: Reader[] = []
  t.teardown(() => readers.forEach(({ tcp }) => void tcp.destroy()))

  /** The next number that each reader is to get; what it gets instead. */
  const next = new Uint32Array(990)
  const faults: string[] = []
  for (let n = 0; n < 990; n++) {
    const onMessage = (payload: Buffer) => {
      const at = payload.indexOf('"n":')
      if (at < 0) return
      if (Number.parseInt(payload.toString('latin1', at + 4, at + 10), 10) === next[n]) next[n] = (next[n] ?? 0) + 1
      else faults.push(`reader ${n}: ${payload}`)
    }
    readers.push(new Reader(server.port, { says: [subscribing(['news'])], onMessage }))
  }
  await until('990 subscriptions', () => server.getTopicSubscriberCount('news') === 990)
  const others = new Set(server.getConnections())
  const slow = Array.from({ length: 10 }, () => new Reader(server.port, { says: [subscribing(['news'])] }))
  readers.push(...slow)
  await until('ten more', () => server.getTopicSubscriberCount('news') === 1_000)
  const slowIds = server.getConnections().filter((id) => !others.has(id))
  for (const { tcp } of slow) tcp.pause()
  // What sockets take before they refuse would be gigabytes for all.
  for (const id of slowIds) {
    for (let sent = 0; server.getConnectionInfo(id)?.waitingBytes === 0; sent++) {
      if (sent === 1_000) throw new Error('a socket that nobody reads takes 64 MiB')
      server.send(id, 'x'.repeat(64 << 10))
      await until('the shard', () => server.memory().waitingCommands === 0)
      await turn()
    }
  }

  let most = 0
  for (let n = 0; n < MESSAGES; n++) {
    t.true(server.broadcast('news', { t: 'news', p: { n } }))
    if (n % 50 === 0) {
      most = Math.max(most, server.memory().totalBytes)
      await turn()
    }
  }
  await until('everything', () => faults.length > 0 || next.every((count) => count === MESSAGES))
  t.deepEqual(faults, [])
  t.true(most <= memoryBudgetBytes)
  for (const id of slowIds) t.like(await application.next('disconnect', ({ connId }) => connId === id), { code: 4503 })
  t.is(server.getConnectionCount(), 990)
  t.true(readers.slice(0, 990).every(({ closeCode, tcp }) => closeCode === undefined && !tcp.destroyed))
})
