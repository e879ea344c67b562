// Whether publishers wait for room: in the memory of all queues, and for readers that must get everything.
import test from 'ava'
import { Publications } from '../lib/publications.js'
import { until, within } from './harness/arrivals.js'
import { connect } from './harness/connect.js'
import { type RunningServer, startServer } from './harness/server.js'

const PADDING = 'x'.repeat(100_000)
const turn = () => new Promise((resolve) => setImmediate(resolve))

/** Publishes numbers until one has to wait; how many did not, and the promise of the one that does. */
async function untilItWaits(server: RunningServer, topic: string) {
  for (let n = 0; ; n++) {
    const state = { isSettled: false }
    const last = server.publish(topic, { t: 'n', p: { n, PADDING } })
    last.then(
      () => {
        state.isSettled = true
      },
      () => {},
    )
    await turn()
    if (!state.isSettled) return { placed: n, last }
    while (server.memory().waitingCommands > 0) await turn()
  }
}

const cases = [
  {
    name: 'for the memory budget',
    options: { memoryBudgetBytes: 3 << 20, outbound: { maxMessages: 0, maxBytes: 0, slowTimeoutMs: 0 } },
  },
  {
    name: 'for a reader of a topic that blocks',
    options: {
      topicPolicies: [{ topics: ['numbers'], overflow: 'block' as const, blockMs: 60_000 }],
      outbound: { maxMessages: 10, slowTimeoutMs: 0 },
    },
  },
]

for (const { name, options } of cases) {
  test(`publish waits ${name}, and goes on in order when there is room`, async (t) => {
    const server = await startServer(t, options)
    const [reader, healthy] = [await connect(t, server), await connect(t, server)]
    for (const { id } of [reader, healthy]) await server.subscribeConnection(id, ['numbers'])
    reader.socket.pause()
    const { placed, last } = await untilItWaits(server, 'numbers')
    t.false(server.broadcast('numbers', { t: 'late', p: { PADDING } }), 'what cannot wait is told')
    const others = [1, 2, 3].map((more) => server.publish('numbers', { t: 'n', p: { n: placed + more, PADDING } }))
    const elsewhere = name.includes('reader') ? await server.publish('other', { t: 'other', p: {} }) : null
    t.is(elsewhere, null, 'other topics do not wait')
    reader.socket.resume()
    t.deepEqual(await within(Promise.all([last, ...others]), 'all publications'), [null, null, null, null])
    for (const each of [reader, healthy]) {
      for (let n = 0; n <= placed + 3; n++) t.is((await each.next('n')).p.n, n)
    }
  })

  test(`publish is rejected when it has waited too long ${name}`, async (t) => {
    const outbound = { ...options.outbound, publishTimeoutMs: 50 }
    const server = await startServer(t, { ...options, outbound })
    const reader = await connect(t, server)
    await server.subscribeConnection(reader.id, ['numbers'])
    reader.socket.pause()
    const { placed, last } = await untilItWaits(server, 'numbers')
    await t.throwsAsync(within(last, 'the end of its patience'), { code: 'WSE_SERVER_OVERLOADED' })
    reader.socket.resume()
    for (let n = 0; n < placed; n++) t.is((await reader.next('n')).p.n, n)
    await until('room', () => server.broadcast('numbers', { t: 'n', p: { n: 'next' } }))
    t.is((await reader.next('n')).p.n, 'next', 'what was rejected is never published')
  })
}

test('no more than ten thousand publications wait, and closing rejects them', async (t) => {
  const server = await startServer(t, {
    topicPolicies: [{ topics: ['numbers'], overflow: 'block', blockMs: 60_000 }],
    outbound: { maxMessages: 10, slowTimeoutMs: 0 },
  })
  const reader = await connect(t, server)
  await server.subscribeConnection(reader.id, ['numbers'])
  reader.socket.pause()
  const { last } = await untilItWaits(server, 'numbers')
  const rest = Array.from({ length: 9_999 }, () => server.publish('numbers', { t: 'n', p: {} }))
  const outcomes = Promise.allSettled([last, ...rest])
  await t.throwsAsync(server.publish('numbers', { t: 'n', p: {} }), { code: 'WSE_SERVER_OVERLOADED' })
  await server.close()
  const codes = (await outcomes).map((one) => one.status === 'rejected' && one.reason.code)
  t.deepEqual(new Set(codes), new Set(['WSE_SERVER_CLOSED']))
})

test('one reader never stops all: it is closed when it has blocked for long enough', async (t) => {
  const server = await startServer(t, {
    topicPolicies: [{ topics: ['numbers'], overflow: 'block', blockMs: 500 }],
    outbound: { maxMessages: 10, slowTimeoutMs: 0 },
  })
  const [reader, healthy] = [await connect(t, server), await connect(t, server)]
  for (const { id } of [reader, healthy]) await server.subscribeConnection(id, ['numbers'])
  reader.socket.pause()
  const { placed, last } = await untilItWaits(server, 'numbers')
  t.is(await within(last, 'the end of the reader'), null)
  t.is(server.getConnectionCount(), 1)
  for (let n = 0; n <= placed; n++) t.is((await healthy.next('n')).p.n, n)
  reader.socket.resume()
  t.is((await reader.closed()).code, 4503)
})

test('a single publication has a deadline and an importance of its own', async (t) => {
  const server = await startServer(t, { outbound: { maxMessages: 10, slowTimeoutMs: 0 } })
  const reader = await connect(t, server)
  await server.subscribeConnection(reader.id, ['numbers'])
  reader.socket.pause()
  while (server.memory().longestOutboundMessages === 0) {
    server.sendEvent(reader.id, { t: 'filler', p: { PADDING } }, { priority: 10 })
    await turn()
  }
  await server.publish('numbers', { t: 'short', p: {} }, { deadlineMs: 1 })
  for (let n = 0; n < 20; n++) await server.publish('numbers', { t: 'low', p: { n } }, { priority: 1 })
  await server.publish('numbers', { t: 'high', p: {} }, { priority: 8 })
  const until = performance.now() + 5
  while (performance.now() < until || server.memory().waitingCommands > 0) await turn()
  reader.socket.resume()
  await reader.next('high')
  await reader.roundTrip()
  t.false(reader.waiting.some((text) => text.includes('"t":"short"')))
  const reasons = reader.waiting.filter((text) => text.includes('"t":"gap"')).map((text) => JSON.parse(text).p.reason)
  t.deepEqual(reasons.sort(), ['expired', 'slow'])
  for (const bad of [{ deadlineMs: 0 }, { deadlineMs: 1.5 }]) {
    await t.throwsAsync(server.publish('numbers', { t: 'n', p: {} }, bad as never), { code: 'WSE_OPTION_INVALID' })
  }
})

/** Publications that wait for the room that `free` says there is; each is as long as it is large. */
function waiting(timeoutMs: number) {
  const memory = { free: 0, asked: [] as string[] }
  const publications = new Publications(timeoutMs)
  const publish = (topic: string, length: number) =>
    publications.publish(topic, length, () => {
      memory.asked.push(`${topic} ${length}`)
      if (length > memory.free) return 'memory'
      memory.free -= length
      return null
    })
  return { memory, publications, publish }
}

test('what memory has no room for holds up its own topic, and nothing that is shorter', async (t) => {
  const { memory, publications, publish } = waiting(0)
  const settled: string[] = []
  const published = [
    ['large', 90],
    ['large', 10],
    ['larger', 95],
    ['small', 10],
    ['larger', 5],
  ] as const
  for (const [topic, length] of published) void publish(topic, length).then(() => settled.push(`${topic} ${length}`))
  memory.asked = []
  memory.free = 50
  publications.resume()
  await turn()
  t.deepEqual(settled, ['small 10'])
  t.deepEqual(memory.asked, ['large 90', 'small 10'], 'what is longer still is not asked for')
  memory.free = 200
  publications.resume()
  await turn()
  t.deepEqual(settled.slice(1), ['large 90', 'large 10', 'larger 95', 'larger 5'])
})

test('what is given up holds up nothing behind it', async (t) => {
  const { memory, publish } = waiting(20)
  const [large, small] = [publish('news', 100), publish('news', 10)]
  memory.free = 50
  await t.throwsAsync(within(large, 'the end of its patience'), { code: 'WSE_SERVER_OVERLOADED' })
  t.is(await within(small, 'its turn'), null)
})

test('what is larger than the memory of all queues waits for nothing', async (t) => {
  const options = { memoryBudgetBytes: 64 << 10, outbound: { publishTimeoutMs: 0 } }
  const server = await startServer(t, options)
  const large = server.publish('news', { t: 'n', p: { PADDING } })
  await t.throwsAsync(within(large, 'the end of it'), { code: 'WSE_MESSAGE_TOO_LARGE' })
  t.throws(() => server.broadcast('news', { t: 'n', p: { PADDING } }), { code: 'WSE_MESSAGE_TOO_LARGE' })
})
