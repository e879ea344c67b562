// What a server weighs before and after something, in a process of its own: the server, and not its clients.
import type { ExecutionContext } from 'ava'
import { type Child, runModule } from './child.js'

/** The most that resident memory may grow, in bytes: allocators keep some. A few hundred of each life are over it. */
const mostOf = (lives: number) => (3 << 20) + 100 * lives

/**
 * Serves `wse`, which has these options, by `start`, which sets `port`; publishes what it is sent, and weighs itself once
 * as many connections are gone as it is told. `options` is a JavaScript expression.
 */
const serverModule = (start: string, options: string) => `
  import { readdirSync } from 'node:fs'
  import { createServer } from 'node:http'
  import { createInterface } from 'node:readline'
  import { WseServer } from 'wse-server'
  const wse = new WseServer(${options})
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
  logBytes: number
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
  options = "{ topics: { allow: ['*'] } }",
): Promise<void> {
  // V8 keeps what its young generation once needed; a small one lets the rest be seen.
  const child = runModule(t, serverModule(start, options), ['--expose-gc', '--max-semi-space-size=1'])
  const port = Number(await child.nextLine())
  const first = await act(port, true)
  const before = await weighAfter(child, first)
  const second = await act(port, false)
  const after = await weighAfter(child, first + second)
  t.is(after.open, 0)
  t.is(after.totalBytes, after.logBytes)
  // Logs are full, and what stands in them is not always of one length.
  t.true(after.logBytes <= before.logBytes * 1.01, `logs: ${before.logBytes} bytes before, ${after.logBytes} after`)
  t.true(
    after.descriptors <= before.descriptors,
    `descriptors: ${before.descriptors} before, ${after.descriptors} after`,
  )
  const grown = after.rss - before.rss
  t.log(`resident memory grew by ${(grown / 2 ** 20).toFixed(1)} MiB`)
  t.true(grown < mostOf(second))
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
