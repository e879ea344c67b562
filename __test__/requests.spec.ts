// What the engine answers itself: the vectors through the addon, in both dialects.
import { readFileSync } from 'node:fs'
import test from 'ava'
import { connect, type Envelope } from './harness/connect.js'
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
