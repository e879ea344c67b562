import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { get } from 'node:https'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { within } from './harness/arrivals.js'
import { makeCertificate } from './harness/certificates.js'
import { Child } from './harness/child.js'
import { connect } from './harness/connect.js'
import { allPages } from './harness/pages.js'
import { tokenOf } from './harness/tokens.js'

const program = fileURLToPath(new URL('../dist/wse-server.js', import.meta.url))

function run(t: ExecutionContext, args: string[], env: Record<string, string> = {}): Child {
  const child = new Child([program, ...args], env)
  t.teardown(() => child.kill())
  return child
}

/** A configuration file with this text; removed when the test is over. */
function configured(t: ExecutionContext, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'wse-command-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'wse.config.json')
  writeFileSync(path, text)
  return path
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`serves what the file says until ${signal}, tells its clients, and ends well`, async (t) => {
    const options = { host: '127.0.0.1', port: 0, path: '/live', topics: { allow: ['news'] } }
    const child = run(t, ['serve', '--config', configured(t, JSON.stringify(options))])
    const line = await child.nextLine()
    t.regex(line, /^ws:\/\/127\.0\.0\.1:\d+\/live$/)
    const connection = await connect(t, { port: Number(new URL(line).port) }, { path: '/live' })
    t.like(await connection.subscribe(['news']), { success_topics: ['news'] })
    child.kill(signal)
    t.is((await connection.closed()).code, 1012)
    t.like(await child.exited(), { code: 0, signal: null })
  })
}

test('serves TLS with the files that the configuration names', async (t) => {
  const { cert, key } = await makeCertificate()
  const folder = dirname(configured(t, '{}'))
  const [certFile, keyFile, config] = [join(folder, 'cert.pem'), join(folder, 'key.pem'), join(folder, 'tls.json')]
  writeFileSync(certFile, cert)
  writeFileSync(keyFile, key)
  writeFileSync(config, JSON.stringify({ host: '127.0.0.1', port: 0, tls: { certFile, keyFile } }))
  const line = await run(t, ['serve', '--config', config]).nextLine()
  t.regex(line, /^wss:/)
  const request = get({ host: '127.0.0.1', port: new URL(line).port, path: '/wse/health', ca: cert })
  const [response] = (await within(once(request, 'response'), 'the health page')) as [IncomingMessage]
  response.resume()
  t.is(response.statusCode, 200)
})

test('serves what the deployment guide shows', async (t) => {
  const guide = allPages().find(({ path }) => path === 'docs/guides/deployment.md')
  const source = guide?.blocks.find(({ language }) => language === 'json')?.source ?? ''
  const { jwt } = JSON.parse(source) as { jwt: { secret: string } }
  const env = { WSE_HOST: '127.0.0.1', WSE_PORT: '0' }
  const line = await run(t, ['serve', '--config', configured(t, source)], env).nextLine()
  const token = await tokenOf('anna', {}, { key: jwt.secret })
  const connection = await connect(t, { port: Number(new URL(line).port) }, { token })
  t.like(await connection.subscribe(['news', 'prices.gold']), { success_topics: ['news', 'prices.gold'] })
})

test('prefers the address of the environment to that of the file', async (t) => {
  const path = configured(t, '{ "host": "192.0.2.1", "port": 1 }')
  const child = run(t, ['serve', '--config', path], { WSE_HOST: '127.0.0.1', WSE_PORT: '0' })
  const { hostname, port } = new URL(await child.nextLine())
  t.is(hostname, '127.0.0.1')
  await connect(t, { port: Number(port) })
})

for (const [fault, text, expected] of [
  ['an option that it does not know', '{ "prot": 1 }', 'option prot is unknown'],
  ['an option of a wrong kind', '{ "maxConnections": "many" }', 'option maxConnections: expected a whole number'],
  ['a port that is none', '{ "port": "http" }', 'option listen.port: expected a whole number'],
  ['text that is not JSON', '{ port: 1 }', 'is not JSON'],
  ['JSON that is no object', '[]', 'expected an object'],
] as const) {
  test(`refuses a file with ${fault}`, async (t) => {
    const { code, errors } = await run(t, ['serve', '--config', configured(t, text)]).exited()
    t.not(code, 0)
    t.true(errors.includes(expected), errors)
    t.false(errors.includes('    at '), errors)
  })
}

for (const [fault, args, expected] of [
  ['a file that is not there', ['serve', '--config', '/nowhere/wse.json'], 'ENOENT'],
  ['a command that it does not know', ['sevre'], "unknown command 'sevre'"],
  ['a flag that it does not know', ['serve', '--prot', '1'], "'--prot'"],
  ['no command', [], 'Usage:'],
] as const) {
  test(`refuses ${fault} with exit code 2`, async (t) => {
    const { code, errors } = await run(t, [...args]).exited()
    t.is(code, 2)
    t.true(errors.includes(expected), errors)
  })
}

test('explains itself', async (t) => {
  const child = run(t, ['--help'])
  t.is(await child.nextLine(), 'Usage: wse-server serve [--config FILE]')
  t.is((await child.exited()).code, 0)
})
