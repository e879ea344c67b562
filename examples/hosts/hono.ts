// The chat on a Hono service, on its Node.js server.
import type { Server } from 'node:http'
import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { WseServer } from 'wse-server'

const { JWT_SECRET: secret, PORT = '8000' } = process.env
if (secret === undefined) throw new Error('JWT_SECRET is not set')

const app = new Hono()
app.get('/', (context) => context.text('The chat is at /wse.'))

const listen = { fetch: app.fetch, port: Number(PORT) }
const http = serve(listen, ({ port }) => console.log(`http://localhost:${port}`)) as Server
const wse = new WseServer({ jwt: { secret } })
wse.attach(http)

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
