// A port of its own, a host and a host by streams, which end in the way that the argument names once enough
// messages have come to each.
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
const engines = Array.from({ length: 3 }, () => new WseServer({ rateLimit: false }))
const [own, ...attached] = engines
const ports = [(await own.listen({ host: '127.0.0.1', port: Number(ownPort) })).port]
for (const [n, via] of ['auto', 'stream'].entries()) {
  const http = createServer()
  attached[n].attach(http, { via })
  await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve))
  ports.push(http.address().port)
}
console.log(JSON.stringify(ports))

const seen = new Map(engines.map((wse) => [wse, 0]))
const drain = async (wse) => {
  for await (const batch of wse.drain()) {
    for (const event of batch) {
      if (event.type === 'msg') wse.broadcastAll(event.text)
    }
    seen.set(wse, seen.get(wse) + batch.length)
    if ([...seen.values()].every((count) => count > ENOUGH)) ends[way]?.()
  }
}
for (const wse of engines) drain(wse)
