// The chat on an Express service; the same lines serve Express 4 and 5.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import express from 'express'
import { WseServer } from 'wse-server'

const { JWT_SECRET: secret, PORT = '8000' } = process.env
if (secret === undefined) throw new Error('JWT_SECRET is not set')

const app = express()
app.get('/', (_, response) => void response.send('The chat is at /wse.'))

const http = createServer(app)
const wse = new WseServer({ jwt: { secret } })
wse.attach(http)

http.listen(Number(PORT), () => console.log(`http://localhost:${(http.address() as AddressInfo).port}`))

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    http.close()
    void wse.close()
    // Browsers hold connections on which they ask nothing; http.close() alone waits for them.
    setTimeout(() => http.closeAllConnections(), 5_000).unref()
  })
}

for await (const batch of wse.drain()) {
  for (const event of batch) {
    if (event.type === 'auth_connect') wse.subscribeConnection(event.connId, ['chat'])
    const text = event.type === 'msg' && event.data.t === 'chat' && event.data.p?.text
    if (typeof text === 'string') wse.broadcast('chat', { t: 'chat', p: { text: text.slice(0, 1000) } })
  }
}
