// Verifies that the examples of docs/guides/hosts do what they promise, each in the framework that it is for.
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { type Child, runFile } from './harness/child.js'
import { type Connection, connect } from './harness/connect.js'
import { get } from './harness/host.js'
import { openSocket, upgradeRequest } from './harness/socket.js'
import { secret, tokenOf } from './harness/tokens.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = join(root, 'examples', 'hosts')

interface HostExample {
  title: string
  file: string
  flags?: string[]
  env?: Record<string, string>
  /** What an upgrade of another path gets. Default: 404, because the framework has no upgrade handler. */
  strange?: { path: string; status: number | 'no answer' }
}

const examples: HostExample[] = [
  { title: 'node:http', file: 'node-http.ts' },
  { title: 'Express 5', file: 'express.ts' },
  { title: 'Express 4', file: 'express.ts', flags: ['--import=./__test__/harness/express4.mjs'] },
  { title: 'Fastify', file: 'fastify.ts' },
  { title: 'Koa', file: 'koa.ts' },
  { title: 'Hono', file: 'hono.ts' },
  { title: 'Nest on Express', file: 'nest.ts' },
  { title: 'Nest on Fastify, as a gateway', file: 'nest-gateway.ts' },
  {
    title: 'Next',
    file: 'next/server.ts',
    env: { NODE_ENV: 'production' },
    // Next ends an upgrade of one of its pages, and leaves those of other paths to others.
    strange: { path: '/', status: 'no answer' },
  },
]

test.before('Next builds its app', (t) => {
  const next = join(root, 'node_modules', 'next', 'dist', 'bin', 'next')
  const env = { ...process.env, NEXT_TELEMETRY_DISABLED: '1', NODE_ENV: 'production' }
  const { status, stdout, stderr } = spawnSync(process.execPath, [next, 'build', join(folder, 'next')], {
    env,
    encoding: 'utf8',
  })
  t.is(status, 0, stdout + stderr)
})

for (const example of examples) {
  // One after the other: a framework takes a core for a second until it stands.
  test.serial(`runs the chat in ${example.title}, beside the routes that the host has`, async (t) => {
    const { child, port } = await start(t, example)
    const page = await get({ port }, '/')
    t.is(page.status, 200)
    t.true(page.body.includes('The chat is at /wse.'))
    t.is((await get({ port }, '/nowhere')).status, 404)
    t.is((await get({ port }, '/wse')).status, 404)
    const health = await get({ port }, '/wse/health')
    t.is(health.status, 200)
    t.is(typeof JSON.parse(health.body), 'object')

    const anna = await joinChat(t, port, 'anna')
    const ben = await joinChat(t, port, 'ben')
    anna.send({ t: 'chat', p: { text: 'hello' } })
    t.deepEqual((await ben.next('chat')).p, { text: 'hello' })
    // What a client sends may be anything; none of it reaches another client, or ends the service.
    for (const p of [null, 7, 'x', { text: { toString: 1 } }, { text: null }, {}]) anna.send({ t: 'chat', p })
    anna.send({ t: 'chat', p: { text: 'x'.repeat(1_000_000) } })
    t.is(String((await ben.next('chat')).p.text).length, 1_000)

    const intruder = await connect(t, { port }, { token: 'nonsense', greeted: false })
    t.is((await intruder.closed()).code, 4401)

    const { path, status } = example.strange ?? { path: '/strange', status: 404 }
    const stranger = await openSocket(t, { port })
    stranger.write(upgradeRequest({ path }))
    if (status === 'no answer') await t.throwsAsync(stranger.head(), { message: /ended before the head/ })
    else t.is((await stranger.head()).status, status)
    await stranger.ended()

    child.kill('SIGTERM')
    t.is((await anna.closed()).code, 1012)
    const { code, errors } = await child.exited()
    t.is(code, 0, errors)
  })
}

test.serial('leaves the hot reload of Next to Next', async (t) => {
  const { child, port } = await start(t, { title: 'Next', file: 'next/server.ts', env: { NODE_ENV: 'development' } })
  t.is((await get({ port }, '/')).status, 200)
  const reload = await connect(t, { port }, { path: '/_next/hmr?id=test', greeted: false })
  t.regex(await reload.nextText(), /"type":/)
  await joinChat(t, port, 'anna')
  child.kill('SIGTERM')
  const { code, errors } = await child.exited()
  t.is(code, 0, errors)
})

test('ends within seconds although a browser holds a connection on which it asks nothing', async (t) => {
  const { child, port } = await start(t, { title: 'node:http', file: 'node-http.ts' })
  const idle = await openSocket(t, { port })
  // An answer on another connection: the server has accepted both.
  await get({ port }, '/')
  child.kill('SIGTERM')
  await idle.ended()
  t.is((await child.exited()).code, 0)
})

test('fits each host into forty lines', (t) => {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
    (file) => file.endsWith('.ts') && !file.includes('.next'),
  )
  for (const file of files) {
    const lines = readFileSync(join(folder, file), 'utf8').trimEnd().split('\n').length
    t.true(lines <= 40, `${file} has ${lines} lines`)
  }
  t.deepEqual(files.toSorted(), [...new Set(examples.map(({ file }) => file)), 'token.ts'].sort())
})

test('prints a token for whoever wants to join by hand', async (t) => {
  const { port } = await start(t, { title: 'node:http', file: 'node-http.ts' })
  const printed = runFile(t, join(folder, 'token.ts'), { JWT_SECRET: secret })
  await connect(t, { port }, { token: await printed.nextLine() })
  t.pass()
})

async function start(t: ExecutionContext, { file, flags, env }: HostExample): Promise<{ child: Child; port: number }> {
  const own = { PORT: '0', JWT_SECRET: secret, NEXT_TELEMETRY_DISABLED: '1' }
  const child = runFile(t, join(folder, file), { ...own, ...env }, flags)
  const address = await child.nextLine((line) => line.startsWith('http://'))
  return { child, port: Number(new URL(address).port) }
}

/** A connection that the chat is known to reach: what it says comes back to it. */
async function joinChat(t: ExecutionContext, port: number, userId: string): Promise<Connection> {
  const connection = await connect(t, { port }, { token: await tokenOf(userId) })
  connection.send({ t: 'chat', p: { text: `${userId} is here` } })
  await connection.next('chat')
  return connection
}
