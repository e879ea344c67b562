// The chat beside the pages of a Next app, in its custom server.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import next from 'next'
import { WseServer } from 'wse-server'

const { JWT_SECRET: secret, PORT = '8000' } = process.env
if (secret === undefined) throw new Error('JWT_SECRET is not set')

const http = createServer()
const dev = process.env.NODE_ENV !== 'production'
const app = next({ dev, dir: import.meta.dirname, httpServer: http })
const handle = app.getRequestHandler()
http.on('request', (request, response) => void handle(request, response))

const wse = new WseServer({ jwt: { secret } })
wse.attach(http)
await app.prepare()
http.listen(Number(PORT), () => console.log(`http://localhost:${(http.address() as AddressInfo).port}`))

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, async () => {
    http.close()
    // Browsers hold connections on which they ask nothing; http.close() alone waits for them.
    setTimeout(() => http.closeAllConnections(), 5_000).unref()
    await Promise.all([app.close(), wse.close()])
    if (dev) process.exit() // Next's development server would stay.
  })
}

for await (const batch of wse.drain()) {
  for (const event of batch) {
    if (event.type === 'auth_connect') wse.subscribeConnection(event.connId, ['chat'])
    const text = event.type === 'msg' && event.data.t === 'chat' && event.data.p?.text
    if (typeof text === 'string') wse.broadcast('chat', { t: 'chat', p: { text: text.slice(0, 1000) } })
  }
}
