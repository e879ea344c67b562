// Three engines, as programs start them: on a port of its own, on a host, and on a host by streams.
import { createServer } from 'node:http'
import { WseServer } from 'wse-server'

export async function startEngines(options, port = 0) {
  const engines = Array.from({ length: 3 }, () => new WseServer(options))
  const [own, ...attached] = engines
  const ports = [(await own.listen({ host: '127.0.0.1', port })).port]
  for (const [n, via] of ['auto', 'stream'].entries()) {
    const http = createServer()
    attached[n].attach(http, { via })
    await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve))
    ports.push(http.address().port)
  }
  return { engines, ports }
}
