// What holds for one connection holds for a thousand at once.
import test from 'ava'
import { until } from './harness/arrivals.js'
import { runModule } from './harness/child.js'
import { Reader, subscribing } from './harness/reader.js'

const MESSAGES = 2_000
const BUDGET_MIB = 32
/** What a process takes for other things than queues meanwhile: the garbage of JavaScript, and what allocators keep. */
const OTHER_MIB = 24

/**
 * A server in a process of its own. At a word it sends far more than its budget to those who came by `?slow`, of which
 * none is shared, publishes to everybody, and weighs itself all the time.
 */
const server = `
  import { once } from 'node:events'
  import { setImmediate as turn } from 'node:timers/promises'
  import { WseServer } from 'wse-server'
  const memoryBudgetBytes = ${BUDGET_MIB} << 20
  const wse = new WseServer({ topics: { allow: ['news'] }, memoryBudgetBytes, outbound: { slowTimeoutMs: 1_000 } })
  const { port } = await wse.listen({ host: '127.0.0.1', port: 0 })
  const say = (line) => console.log(JSON.stringify(line))
  say({ port })

  const slow = []
  const drain = async () => {
    for await (const batch of wse.drain()) {
      for (const { type, connId, url, code } of batch) {
        if (type === 'connect' && url.endsWith('?slow')) slow.push(connId)
        if (type === 'disconnect') say({ code, isSlow: slow.includes(connId) })
      }
    }
  }
  void drain()
  while (wse.getTopicSubscriberCount('news') < 1_000 || slow.length < 10) await turn()
  say({ isFull: true })
  await once(process.stdin, 'data')

  // What sockets take before they refuse is the kernel's memory.
  const chunk = 'x'.repeat(64 << 10)
  for (const id of slow) {
    while (wse.getConnectionInfo(id).waitingBytes === 0) {
      wse.send(id, chunk)
      while (wse.memory().waitingCommands > 0) await turn()
    }
  }
  globalThis.gc()
  const before = process.memoryUsage.rss()
  let most = 0
  let refused = 0
  // One after the other, so that the queues of the first are full when there is no room for those of the others.
  for (const id of slow) {
    for (let n = 0; n < 300; n++) {
      if (!wse.send(id, n + chunk)) refused += 1
      while (wse.memory().waitingCommands > 0) await turn()
      most = Math.max(most, process.memoryUsage.rss())
    }
  }
  for (let n = 0; n < ${MESSAGES}; n++) {
    await wse.publish('news', { t: 'news', p: { n } })
    if (n % 50 === 0) most = Math.max(most, process.memoryUsage.rss())
  }
  say({ mib: (most - before) / 2 ** 20, refused })
`

test('delivers everything to 990 subscribers beside ten who never read, and ends these', async (t) => {
  const child = runModule(t, server, ['--expose-gc', '--max-semi-space-size=1'])
  const heard = async (member: string) => JSON.parse(await child.nextLine((line) => member in JSON.parse(line)))
  const { port } = await heard('port')
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
    readers.push(new Reader(port, { says: [subscribing(['news'])], onMessage }))
  }
  for (let n = 0; n < 10; n++) {
    const { tcp } = new Reader(port, { request: { path: '/wse?slow' }, says: [subscribing(['news'])] })
    tcp.pause()
    t.teardown(() => tcp.destroy())
  }
  await heard('isFull')
  child.say('go')
  const { mib, refused } = await heard('mib')
  await until('everything', () => faults.length > 0 || next.every((count) => count === MESSAGES))
  t.deepEqual(faults, [])
  t.log(`its memory grew by ${mib.toFixed(0)} MiB, and ${refused} messages had no place in it`)
  t.true(refused > 0 && mib < BUDGET_MIB + OTHER_MIB)
  for (let n = 0; n < 10; n++) t.deepEqual(await heard('code'), { code: 4503, isSlow: true })
  t.true(readers.every(({ closeCode, tcp }) => closeCode === undefined && !tcp.destroyed))
})
