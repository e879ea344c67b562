// A port of its own, a host and a host by streams, which end in the way that the argument names once enough
// messages have come to each.
import { startEngines } from './engines.mjs'

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
const { engines, ports } = await startEngines({ rateLimit: false }, Number(ownPort))
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
