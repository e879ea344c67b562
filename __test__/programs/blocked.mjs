// A host whose JavaScript stands still from the message `block` until a line is written to its input.
import { readSync } from 'node:fs'
import { createServer } from 'node:http'
import { WseServer } from 'wse-server'

const options = { heartbeatIntervalMs: 250, idleTimeoutMs: 1_000 }
const engines = Array.from({ length: 3 }, () => new WseServer(options))
const [own, ...attached] = engines
const ports = [(await own.listen({ host: '127.0.0.1', port: 0 })).port]
for (const [n, via] of ['auto', 'stream'].entries()) {
  const http = createServer()
  attached[n].attach(http, { via })
  await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve))
  ports.push(http.address().port)
}
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
