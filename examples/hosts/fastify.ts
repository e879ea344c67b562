// The chat on a Fastify service.
import fastify from 'fastify'
import { WseServer } from 'wse-server'

const { JWT_SECRET: secret, PORT = '8000' } = process.env
if (secret === undefined) throw new Error('JWT_SECRET is not set')

// Browsers hold connections on which they ask nothing; app.close() would wait for them.
const app = fastify({ forceCloseConnections: true })
app.get('/', () => 'The chat is at /wse.')

const wse = new WseServer({ jwt: { secret } })
wse.attach(app.server)
app.addHook('onClose', () => wse.close())

console.log(await app.listen({ host: '0.0.0.0', port: Number(PORT) }))

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void app.close())

for await (const batch of wse.drain()) {
  for (const event of batch) {
    if (event.type === 'auth_connect') wse.subscribeConnection(event.connId, ['chat'])
    const text = event.type === 'msg' && event.data.t === 'chat' && event.data.p?.text
    if (typeof text === 'string') wse.broadcast('chat', { t: 'chat', p: { text: text.slice(0, 1000) } })
  }
}
