// A host whose JavaScript stands still from the message `block` until a line is written to its input.
import { readSync } from 'node:fs'
import { createServer } from 'node:http'
import { WseServer } from 'wse-server'

const options = { heartbeatIntervalMs: 250, idleTimeoutMs: 1_000 }
const [own, attached] = [new WseServer(options), new WseServer(options)]
const http = createServer()
attached.attach(http)
await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve))
const { port } = await own.listen({ host: '127.0.0.1', port: 0 })
console.log(JSON.stringify([port, http.address().port]))

const drain = async (wse) => {
  for await (const batch of wse.drain()) {
    for (const event of batch) {
      if (event.type !== 'msg') continue
      if (event.data.t === 'block') {
        console.log('blocked')
        readSync(0, Buffer.alloc(1))
        for (const each of [own, attached]) each.broadcastAll(JSON.stringify({ t: 'free', p: {} }))
      } else wse.sendEvent(event.connId, event.data)
    }
  }
}
drain(own)
drain(attached)
