// A small service, for any runtime: a port of its own and a host, both served by the same code. Ends by itself when
// a client says `stop`.
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { WseServer } from 'wse-server'

const engines = [new WseServer(), new WseServer()]
const http = createServer((_, response) => response.end('host'))
engines[1].attach(http)
await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve))
const { port } = await engines[0].listen({ host: '127.0.0.1', port: 0 })
const isOneClass = createRequire(import.meta.url)('wse-server').WseServer === WseServer
const { bun, deno, node } = process.versions
console.log(JSON.stringify({ ports: [port, http.address().port], version: bun ?? deno ?? node, isOneClass }))

const serve = async (wse) => {
  for await (const batch of wse.drain()) {
    for (const event of batch) {
      if (event.type === 'connect') await wse.subscribeConnection(event.connId, ['news'])
      if (event.type === 'raw') wse.send(event.connId, event.text)
      if (event.type === 'bin') wse.sendBytes(event.connId, event.bytes)
      if (event.type !== 'msg') continue
      if (event.data.t === 'stop') stop()
      else wse.broadcast('news', { t: 'news', p: event.data.p })
    }
  }
}
const stop = async () => {
  await Promise.all(engines.map((wse) => wse.close()))
  await new Promise((resolve) => http.close(resolve))
  console.log('closed')
}
for (const wse of engines) serve(wse)
