// A host and a port of its own, which end in the way that the argument names once enough messages have come.
import { createServer } from 'node:http'
import { WseServer } from 'wse-server'

const ENOUGH = 2_000
const [, , way, ownPort = '0'] = process.argv
const ends = {
  exit: () => process.exit(7),
  exception: () =>
    setImmediate(() => {
      throw new Error('a fault of the host')
    }),
  rejection: () => Promise.reject(new Error('a promise of the host')),
  kill: () => process.kill(process.pid, 'SIGKILL'),
}
const [own, attached] = [new WseServer({ rateLimit: false }), new WseServer({ rateLimit: false })]
const http = createServer()
attached.attach(http)
await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve))
const { port } = await own.listen({ host: '127.0.0.1', port: Number(ownPort) })
console.log(JSON.stringify([port, http.address().port]))

const seen = new Map([own, attached].map((wse) => [wse, 0]))
const drain = async (wse) => {
  for await (const batch of wse.drain()) {
    for (const event of batch) {
      if (event.type === 'msg') wse.broadcastAll(event.text)
    }
    seen.set(wse, seen.get(wse) + batch.length)
    if ([...seen.values()].every((count) => count > ENOUGH)) ends[way]?.()
  }
}
drain(own)
drain(attached)
