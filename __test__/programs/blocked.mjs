// A host whose JavaScript stands still from the message `block` until a line is written to its input.
import { readSync } from 'node:fs'
import { startEngines } from './engines.mjs'

const { engines, ports } = await startEngines({ heartbeatIntervalMs: 250, idleTimeoutMs: 1_000 })
console.log(JSON.stringify(ports))

const drain = async (wse) => {
  for await (const batch of wse.drain()) {
    for (const event of batch) {
      if (event.type !== 'msg') continue
      if (event.data.t === 'block') {
        console.log('blocked')
        readSync(0, Buffer.alloc(1))
        for (const each of engines) each.broadcastAll(JSON.stringify({ t: 'free', p: {} }))
      } else wse.sendEvent(event.connId, event.data)
    }
  }
}
for (const wse of engines) drain(wse)
