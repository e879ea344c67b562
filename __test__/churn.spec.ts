import { connect as connectTcp } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import { type Child, runModule } from './harness/child.js'
import { frameBytes, OP, RawSocket, upgradeRequest } from './harness/socket.js'

// The server has a process of its own, so that what is weighed is the server and not the clients.
const serverModule = (start: string) => `
  import { readdirSync } from 'node:fs'
  import { createServer } from 'node:http'
  import { createInterface } from 'node:readline'
  import { WseServer } from 'wse-server'
  const wse = new WseServer()
  ${start}
  console.log(port)

  let gone = 0
  let awaited = Infinity
  const weigh = () => {
    globalThis.gc()
    const descriptors = readdirSync('/proc/self/fd').length
    console.log(JSON.stringify({ descriptors, rss: process.memoryUsage.rss(), open: wse.getConnectionCount() }))
  }
  createInterface({ input: process.stdin }).on('line', (line) => {
    awaited = Number(line)
    if (gone >= awaited) weigh()
  })
  for await (const batch of wse.drain()) {
    for (const event of batch) if (event.type === 'disconnect' && ++gone === awaited) weigh()
  }
`

interface Weight {
  descriptors: number
  rss: number
  open: number
}

/** Connects and closes so many times, fifty at once, each with its whole close handshake. */
async function comeAndGo(port: number, count: number): Promise<void> {
  let left = count
  const lane = async () => {
    while (left-- > 0) {
      const socket = new RawSocket(connectTcp({ host: '127.0.0.1', port }))
      socket.write(upgradeRequest())
      await socket.next(OP.text)
      socket.write(frameBytes(OP.close, Buffer.from([0x03, 0xe8])))
      await socket.ended()
    }
  }
  await Promise.all(Array.from({ length: 50 }, lane))
}

async function weighAfter(child: Child, gone: number): Promise<Weight> {
  child.say(String(gone))
  return JSON.parse(await child.nextLine()) as Weight
}

async function returnsAfterChurn(t: ExecutionContext, start: string, count: number): Promise<void> {
  // V8 keeps what its young generation once needed; a small one lets the rest be seen.
  const child = runModule(t, serverModule(start), ['--expose-gc', '--max-semi-space-size=1'])
  const port = Number(await child.nextLine())
  await comeAndGo(port, count / 2)
  const before = await weighAfter(child, count / 2)
  await comeAndGo(port, count)
  const after = await weighAfter(child, count / 2 + count)
  t.is(after.open, 0)
  t.true(
    after.descriptors <= before.descriptors,
    `descriptors: ${before.descriptors} before, ${after.descriptors} after`,
  )
  const grown = (after.rss - before.rss) / 2 ** 20
  t.log(`resident memory grew by ${grown.toFixed(1)} MiB`)
  t.true(grown < 10)
}

test('has its descriptors and memory back after 10 000 connects and closes on its own port', (t) =>
  returnsAfterChurn(t, "const { port } = await wse.listen({ host: '127.0.0.1', port: 0 })", 10_000))

test('has its descriptors and memory back after 5 000 connects and closes on a host', (t) =>
  returnsAfterChurn(
    t,
    `const http = createServer()
    wse.attach(http)
    await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve))
    const { port } = http.address()`,
    5_000,
  ))
