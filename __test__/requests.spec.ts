// What the engine answers itself: the vectors through the addon, in both dialects.
import { readFileSync } from 'node:fs'
import test from 'ava'
import { connect } from './harness/connect.js'
import type { Envelope } from './harness/envelope.js'
import { Application, startServer } from './harness/server.js'
import { secret, tokenOf } from './harness/tokens.js'

interface Exchange {
  name: string
  claims?: Record<string, unknown>
  request: { t?: string; [member: string]: unknown }
  answers: { t: string; p: unknown; cid?: unknown }[]
  events: Record<string, unknown>[]
}

const { exchanges } = JSON.parse(readFileSync(new URL('../spec/vectors/request.json', import.meta.url), 'utf8')) as {
  exchanges: Exchange[]
}
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

/** What was expected, with the placeholders filled in that `said` fits. */
function filled(expected: unknown, said: unknown, dialect: number, id: string): unknown {
  const fits: Record<string, boolean> = {
    '<connection>': said === id,
    '<dialect>': said === dialect,
    '<version>': said === version,
    '<time>': TIME.test(String(said)),
    '<number>': typeof said === 'number' && said >= 0,
    '<object>': typeof said === 'object' && said !== null,
  }
  if (typeof expected === 'string') return fits[expected] ? said : expected
  if (typeof expected !== 'object' || expected === null) return expected
  const inner = (key: string, value: unknown) =>
    filled(value, (said as Record<string, unknown> | undefined)?.[key], dialect, id)
  if (Array.isArray(expected)) return expected.map((value, place) => inner(String(place), value))
  return Object.fromEntries(Object.entries(expected).map(([key, value]) => [key, inner(key, value)]))
}

for (const dialect of [1, 2]) {
  test(`answers every request of the vectors, in version ${dialect}`, async (t) => {
    const server = await startServer(t, { jwt: { secret }, maxConnectionsPerUser: 0, shards: 2 })
    const application = new Application(server)
    for (const { name, claims, request, answers, events } of exchanges) {
      const path = `/wse?protocol_version=${dialect}`
      const client = await connect(t, server, { path, token: await tokenOf('ann', claims) })
      client.send(request)
      await client.roundTrip()
      // What was waiting when the ping was answered is all that there is.
      const said = client.waiting.map((text) => JSON.parse(text) as Envelope)
      const shown = said.map(({ t, p, cid }) => (cid === undefined ? { t, p } : { t, p, cid }))
      const expected = answers.map((answer, place) => filled(answer, shown[place], dialect, client.id))
      t.deepEqual(shown as unknown[], expected, name)
      for (const event of events) {
        const { data } = await application.next('msg', ({ connId }) => connId === client.id)
        t.deepEqual(data, event, name)
      }
      await client.close()
      await application.next('disconnect', ({ connId }) => connId === client.id)
      t.false(
        application.waiting.some(({ type, connId }) => type === 'msg' && connId === client.id),
        name,
      )
    }
  })
}

test('compression is switched on and off on a live connection', async (t) => {
  const server = await startServer(t, { topics: { allow: ['news'] } })
  const client = await connect(t, server)
  await client.subscribe(['news'])
  const large = { t: 'story', p: { text: 'x'.repeat(4_000) } }
  const update = async (compression_enabled: unknown) => {
    client.send({ t: 'config_update', p: { compression_enabled } })
    return (await client.next('config_update_response')).p
  }
  const asked = { success: true, applied: ['compression_enabled'], refused: [] }
  t.like(await update(true), { ...asked, config: { compression_enabled: true } })
  server.broadcast('news', large)
  t.is((await client.nextBytes()).subarray(0, 2).toString(), 'C:')
  t.like(await update(false), { ...asked, config: { compression_enabled: false } })
  server.broadcast('news', large)
  t.deepEqual((await client.next('story')).p, large.p)
  const refused = { success: false, applied: [], refused: ['compression_enabled'] }
  t.like(await update('true'), { ...refused, config: { compression_enabled: false } })
  const packed = await connect(t, server, { path: '/wse?format=msgpack' })
  packed.send({ t: 'config_update', p: { compression_enabled: true } })
  t.like((await packed.next('config_update_response')).p, refused)
})

test('a type that the application takes over is its own, and the debug answer says so', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  server.handle('health_check', ({ userId }) => ({ t: 'health_check_response', p: { by: userId } }))
  const client = await connect(t, server, { token: await tokenOf('ann', { wse_debug: true }) })
  client.send({ t: 'batch', p: { messages: [{ t: 'health_check', cid: 'h' }] } })
  t.like((await client.next('batch_message_result')).p, { total: 1, successful: 1 })
  t.like(await client.next('health_check_response'), { p: { by: 'ann' }, cid: 'h' })
  client.send({ t: 'debug_handlers' })
  const { handlers } = (await client.next('debug_response')).p as { handlers: Record<string, string[]> }
  t.deepEqual(handlers.application, ['health_check'])
  t.true(handlers.engine?.includes('metrics_request'))
  server.handle('health_check', null)
  client.send({ t: 'health_check' })
  t.is((await client.next('health_check_response')).p.status, 'healthy')
})
