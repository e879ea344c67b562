// What a server weighs before and after something, in a process of its own: the server, and not its clients.
import type { ExecutionContext } from 'ava'
import { type Child, runModule } from './child.js'

/** The most that resident memory may grow, in MiB: allocators keep some. 2 KiB of each of thousands are over it. */
const MOST_MIB = 10

/**
 * Serves `wse` by `start`, which sets `port`, publishes what it is sent, and weighs itself once as many connections are
 * gone as it is told.
 */
const serverModule = (start: string) => `
  import { readdirSync } from 'node:fs'
  import { createServer } from 'node:http'
  import { createInterface } from 'node:readline'
  import { WseServer } from 'wse-server'
  const wse = new WseServer({ topics: { allow: ['*'] } })
  ${start}
  console.log(port)

  let gone = 0
  let awaited = Infinity
  const weigh = () => {
    globalThis.gc()
    const descriptors = readdirSync('/proc/self/fd').length
    const weight = { descriptors, rss: process.memoryUsage.rss(), open: wse.getConnectionCount(), ...wse.memory() }
    console.log(JSON.stringify(weight))
  }
  createInterface({ input: process.stdin }).on('line', (line) => {
    awaited = Number(line)
    if (gone >= awaited) weigh()
  })
  for await (const batch of wse.drain()) {
    for (const event of batch) {
      if (event.type === 'msg') wse.broadcast(event.data.t, event.data)
      if (event.type === 'disconnect' && ++gone === awaited) weigh()
    }
  }
`

/** How a server is started whose weight is of interest. */
export const starts = {
  'on its own port': "const { port } = await wse.listen({ host: '127.0.0.1', port: 0 })",
  'on a host': `const http = createServer()
    wse.attach(http)
    await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve))
    const { port } = http.address()`,
  'on the streams of a host': `const http = createServer()
    wse.attach(http, { via: 'stream' })
    await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve))
    const { port } = http.address()`,
}

interface Weight {
  descriptors: number
  rss: number
  open: number
  totalBytes: number
}

async function weighAfter(child: Child, gone: number): Promise<Weight> {
  child.say(String(gone))
  return JSON.parse(await child.nextLine()) as Weight
}

/**
 * Has a server serve `act` twice, and compares its weights: the first time brings everything that is made once.
 *
 * `act` returns how many connections came and went; it is told whether it is the first time.
 */
export async function comesBack(
  t: ExecutionContext,
  start: string,
  act: (port: number, isFirst: boolean) => Promise<number>,
): Promise<void> {
  // V8 keeps what its young generation once needed; a small one lets the rest be seen.
  const child = runModule(t, serverModule(start), ['--expose-gc', '--max-semi-space-size=1'])
  const port = Number(await child.nextLine())
  const first = await act(port, true)
  const before = await weighAfter(child, first)
  const after = await weighAfter(child, first + (await act(port, false)))
  t.is(after.open, 0)
  t.is(after.totalBytes, 0)
  t.true(
    after.descriptors <= before.descriptors,
    `descriptors: ${before.descriptors} before, ${after.descriptors} after`,
  )
  const grown = (after.rss - before.rss) / 2 ** 20
  t.log(`resident memory grew by ${grown.toFixed(1)} MiB`)
  t.true(grown < MOST_MIB)
}

/** Has `count` turns of `turn`, fifty at once; returns how many. */
export async function inLanes(count: number, turn: (n: number) => Promise<void>): Promise<number> {
  let next = 0
  const lane = async () => {
    while (next < count) await turn(next++)
  }
  await Promise.all(Array.from({ length: 50 }, lane))
  return count
}
