// A small service, for any runtime, served by the same code on two ports of its own and two hosts, of which the
// second each speaks TLS, by the certificate that is its argument. Ends by itself when a client says `stop`.
import { createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { createRequire } from 'node:module'
import { WseServer } from 'wse-server'

const certificate = JSON.parse(process.argv[2])
const engines = Array.from({ length: 4 }, () => new WseServer())
const [plain, encrypted, onHttp, onHttps] = engines
const answer = (_, response) => response.end('host')
const hosts = [createServer(answer), createTlsServer(certificate, answer)]
onHttp.attach(hosts[0])
onHttps.attach(hosts[1])
const ports = [
  await plain.listen({ host: '127.0.0.1', port: 0 }),
  await encrypted.listen({ host: '127.0.0.1', port: 0, tls: certificate }),
].map(({ port }) => port)
for (const host of hosts) {
  await new Promise((resolve) => host.listen(0, '127.0.0.1', resolve))
  ports.push(host.address().port)
}
const isOneClass = createRequire(import.meta.url)('wse-server').WseServer === WseServer
const { bun, deno, node } = process.versions
console.log(JSON.stringify({ ports, version: bun ?? deno ?? node, isOneClass }))

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
  await Promise.all(hosts.map((host) => new Promise((resolve) => host.close(resolve))))
  console.log('closed')
}
for (const wse of engines) serve(wse)
