// The chat as a gateway of a Nest service: a class whose methods handle events; here on the server of Fastify.
import 'reflect-metadata'
import { Controller, Get, Inject, Module } from '@nestjs/common'
import { HttpAdapterHost, NestFactory } from '@nestjs/core'
import { FastifyAdapter } from '@nestjs/platform-fastify'
import { type AuthConnectEvent, type ConnectEvent, type MessageEvent, WseServer } from 'wse-server'

const { JWT_SECRET: secret = '', PORT = '8000' } = process.env
@Controller()
class ChatGateway {
  @Inject(HttpAdapterHost) private readonly host!: HttpAdapterHost
  private readonly wse = new WseServer({ jwt: { secret } })

  onModuleInit(): void {
    this.wse.attach(this.host.httpAdapter.getHttpServer())
    this.wse.setCallbacks({ onConnect: (event) => this.join(event), onMessage: (event) => this.chat(event) })
  }
  beforeApplicationShutdown(): Promise<void> {
    return this.wse.close()
  }
  join({ connId }: AuthConnectEvent | ConnectEvent): void {
    void this.wse.subscribeConnection(connId, ['chat'])
  }
  chat({ data }: MessageEvent): void {
    const text = data.t === 'chat' && data.p?.text
    if (typeof text === 'string') this.wse.broadcast('chat', { t: 'chat', p: { text: text.slice(0, 1000) } })
  }
  @Get() page(): string {
    return 'The chat is at /wse.'
  }
}

@Module({ controllers: [ChatGateway] })
class AppModule {}

const adapter = new FastifyAdapter({ forceCloseConnections: true })
const app = await NestFactory.create(AppModule, adapter, { logger: ['warn', 'error'] })
await app.listen(Number(PORT))
console.log(`http://localhost:${app.getHttpServer().address().port}`)
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void app.close())
