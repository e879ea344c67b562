// Verifies that the engine works behind nginx, configured as docs/guides/behind-a-proxy.md shows.
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { type Child, runFile } from './harness/child.js'
import { type Connection, connect, refused } from './harness/connect.js'
import { get, startHost } from './harness/host.js'
import { hasNginx, startNginx } from './harness/proxy.js'
import { Application, startServer } from './harness/server.js'
import { frameBytes, OP, openSocket, upgradeRequest } from './harness/socket.js'
import { secret, tokenOf } from './harness/tokens.js'

// Without nginx these tests are skipped and listed as such.
const behindNginx = hasNginx() ? test : test.skip
/** Another address than the proxy's; all of 127.0.0.0/8 is this machine. */
const CLIENT = '127.0.0.5'

behindNginx('serves the routes of a host, its health and its connections through the proxy', async (t) => {
  const host = await startHost(t, {}, (request, response) => response.end(`host of ${request.url}`))
  const proxy = await startNginx(t, [host])
  const application = new Application(host.wse)
  t.deepEqual(await get(proxy, '/orders'), { status: 200, body: 'host of /orders' })
  t.is((await get(proxy, '/wse/health')).status, 200)
  t.is((await refused(t, proxy, { path: '/strange' })).status, 404)
  const connection = await connect(t, proxy)
  connection.send({ t: 'question', p: {} })
  t.is((await application.next('msg')).connId, connection.id)
  host.wse.send(connection.id, '{"t":"answer","p":{}}')
  await connection.next('answer')
})

behindNginx('sees the address of the client, and not what the client claims', async (t) => {
  const asked: string[] = []
  const host = await startHost(t, {
    trustProxy: 1,
    authenticate: ({ remoteAddress }) => {
      asked.push(remoteAddress)
      return { userId: 'anna', claims: {} }
    },
  })
  const own = await startServer(t, { trustProxy: 1 })
  const headers = { 'x-forwarded-for': '192.0.2.1' }
  for (const server of [Object.assign(host.wse, { port: host.port }), own]) {
    const proxy = await startNginx(t, [server])
    const connection = await connect(t, proxy, { localAddress: CLIENT, headers })
    t.is(server.getConnectionInfo(connection.id)?.remoteAddress, CLIENT)
  }
  t.deepEqual(asked, [CLIENT])
})

behindNginx('takes the address of the proxy for that of the client unless told to trust it', async (t) => {
  const host = await startHost(t)
  const connection = await connect(t, await startNginx(t, [host]), { localAddress: CLIENT })
  t.is(host.wse.getConnectionInfo(connection.id)?.remoteAddress, '127.0.0.1')
})

behindNginx('tells the pages of the own host from those of others through the proxy', async (t) => {
  const host = await startHost(t, { jwt: { secret }, trustProxy: 1 })
  const proxy = await startNginx(t, [host])
  const cookie = `access_token=${await tokenOf('anna')}`
  await connect(t, proxy, { headers: { cookie, origin: `http://127.0.0.1:${proxy.port}` } })
  t.is((await refused(t, proxy, { headers: { cookie, origin: 'https://evil.example' } })).status, 403)
})

behindNginx('moves large messages in both directions through the proxy', async (t) => {
  const host = await startHost(t)
  const application = new Application(host.wse)
  const connection = await connect(t, await startNginx(t, [host]))
  const text = 'x'.repeat(1_000_000)
  for (let n = 0; n < 10; n++) connection.send(`${n}${text}`)
  for (let n = 0; n < 10; n++) t.is((await application.next('raw')).text, `${n}${text}`)
  const bytes = new Uint8Array(1_000_000).fill(7)
  for (let n = 0; n < 10; n++) t.true(host.wse.sendBytes(connection.id, bytes))
  for (let n = 0; n < 10; n++) t.true((await connection.nextBytes()).equals(bytes))
})

behindNginx('loses no byte that a client sent behind its request to the proxy', async (t) => {
  const host = await startHost(t)
  const application = new Application(host.wse)
  const socket = await openSocket(t, await startNginx(t, [host]))
  socket.write(Buffer.concat([Buffer.from(upgradeRequest()), frameBytes(OP.text, 'early')]))
  t.is((await application.next('raw')).text, 'early')
})

behindNginx('passes close codes through the proxy, in both directions', async (t) => {
  const host = await startHost(t)
  const application = new Application(host.wse)
  const proxy = await startNginx(t, [host])
  const [one, other, third] = [await connect(t, proxy), await connect(t, proxy), await connect(t, proxy)]
  host.wse.disconnect(one.id, 4403, 'go')
  t.deepEqual(await one.closed(), { code: 4403, reason: 'go' })
  other.socket.close(4001, 'enough')
  t.like(await application.next('disconnect', ({ connId }) => connId === other.id), { code: 4001, reason: 'enough' })
  await host.wse.close()
  t.is((await third.closed()).code, 1012)
})

behindNginx('learns through the proxy that a client is gone', async (t) => {
  const host = await startHost(t)
  const application = new Application(host.wse)
  const connection = await connect(t, await startNginx(t, [host]))
  connection.socket.terminate()
  t.is((await application.next('disconnect')).code, 1006)
})

behindNginx('is kept by its heartbeat over the silence that the proxy allows', async (t) => {
  const isShort = (snippet: string) => snippet.replaceAll('75s', '1s')
  const silent = await startHost(t, { heartbeatIntervalMs: 0 })
  const kept = await startHost(t, { heartbeatIntervalMs: 300 })
  const connection = await connect(t, await startNginx(t, [kept], isShort))
  const cut = await connect(t, await startNginx(t, [silent], isShort))
  t.is((await cut.closed()).code, 1006)
  // The one that was cut had come later.
  await connection.nextControl('ping')
  await connection.roundTrip()
})

behindNginx('needs no sticky sessions: any process serves any connection', async (t) => {
  const [one, other] = [await startService(t), await startService(t)]
  const proxy = await startNginx(t, [one, other])
  const connections: Connection[] = []
  for (const userId of ['anna', 'ben', 'carl', 'dora']) connections.push(await joinChat(t, proxy, userId))
  const countOf = async (service: { port: number }) => JSON.parse((await get(service, '/wse/health')).body).connections
  t.deepEqual([await countOf(one), await countOf(other)], [2, 2])

  // A process is killed: its connections come back and find the one that is left.
  one.child.kill()
  const lost = connections.filter((_, index) => index % 2 === 0)
  for (const connection of lost) t.is((await connection.closed()).code, 1006)
  await joinChat(t, proxy, 'anna')
  await joinChat(t, proxy, 'carl')
  t.is(await countOf(other), 4)
})

async function startService(t: ExecutionContext): Promise<{ child: Child; port: number }> {
  const file = fileURLToPath(new URL('../examples/hosts/node-http.ts', import.meta.url))
  const child = runFile(t, file, { PORT: '0', JWT_SECRET: secret })
  return { child, port: Number(new URL(await child.nextLine()).port) }
}

/** A connection that the chat is known to reach: what it says comes back to it. */
async function joinChat(t: ExecutionContext, proxy: { port: number }, userId: string): Promise<Connection> {
  const connection = await connect(t, proxy, { token: await tokenOf(userId) })
  connection.send({ t: 'chat', p: { text: `${userId} is here` } })
  await connection.next('chat')
  return connection
}
