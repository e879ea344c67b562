// The chat on a Nest service, through the server of its HTTP adapter; here that of Express.
import 'reflect-metadata'
import { Controller, Get, Module } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { WseServer } from 'wse-server'

const { JWT_SECRET: secret, PORT = '8000' } = process.env
if (secret === undefined) throw new Error('JWT_SECRET is not set')

@Controller()
class PageController {
  @Get()
  page(): string {
    return 'The chat is at /wse.'
  }
}

@Module({ controllers: [PageController] })
class AppModule {}

const app = await NestFactory.create(AppModule, { logger: ['warn', 'error'], forceCloseConnections: true })
const wse = new WseServer({ jwt: { secret } })
wse.attach(app.getHttpServer())
await app.listen(Number(PORT))
console.log(`http://localhost:${app.getHttpServer().address().port}`)

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void Promise.all([app.close(), wse.close()]))
}

for await (const batch of wse.drain()) {
  for (const event of batch) {
    if (event.type === 'auth_connect') wse.subscribeConnection(event.connId, ['chat'])
    const text = event.type === 'msg' && event.data.t === 'chat' && event.data.p?.text
    if (typeof text === 'string') wse.broadcast('chat', { t: 'chat', p: { text: text.slice(0, 1000) } })
  }
}
