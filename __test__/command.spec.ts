import { once } from 'node:events'
import { existsSync, openSync, writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { get } from 'node:https'
import { dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { SETTINGS } from '../bin/configuration.js'
import { parseJson } from '../bin/json.js'
import { gate, until, within } from './harness/arrivals.js'
import { makeCertificate } from './harness/certificates.js'
import { Child } from './harness/child.js'
import { finished, program, run, runUnread, written } from './harness/command.js'
import { connect } from './harness/connect.js'
import { allPages } from './harness/pages.js'
import { startStranger } from './harness/stranger.js'
import { secret, tokenOf } from './harness/tokens.js'

/** A configuration file with this text; removed when the test is over. */
const configured = (t: ExecutionContext, text: string): string => written(t, 'wse.config.json', text)

/** The port that a served address names. */
const portOf = async (child: Child): Promise<number> => Number(new URL(await child.nextLine()).port)

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test.serial(`serves what the file says until ${signal}, tells its clients, and ends well`, async (t) => {
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

test.serial('sends its clients away at SIGTERM when it is told to, and ends well', async (t) => {
  const args = ['--host', '127.0.0.1', '--port', '0', '--drain-on-sigterm-waves', '1']
  const child = run(t, ['serve', ...args, '--drain-on-sigterm-deadline-ms', '2000'])
  const connection = await connect(t, { port: await portOf(child) })
  child.kill('SIGTERM')
  t.is((await connection.closed()).code, 4300)
  t.like(await child.exited(), { code: 0, signal: null })
})

for (const second of ['SIGINT', 'SIGTERM'] as const) {
  test.serial(`ends at once when ${second} comes while it sends its clients away`, async (t) => {
    const drain = ['--drain-on-sigterm-waves', '2', '--drain-on-sigterm-deadline-ms', '600000']
    const child = run(t, ['serve', '--host', '127.0.0.1', '--port', '0', ...drain])
    const port = await portOf(child)
    const connections = [await connect(t, { port }), await connect(t, { port })]
    child.kill('SIGTERM')
    t.is((await Promise.race(connections.map((connection) => connection.closed()))).code, 4300)
    child.kill(second)
    t.like(await child.exited(), { code: second === 'SIGINT' ? 130 : 143, signal: null })
  })
}

test.serial('ends well at a signal that comes before it listens', async (t) => {
  const [isAsked, ask] = gate()
  const { port } = await startStranger(t, () => ask())
  const jwt = { jwks: `http://127.0.0.1:${port}/keys`, algorithm: 'ES256' }
  const child = run(t, ['serve', '--config', configured(t, JSON.stringify({ host: '127.0.0.1', port: 0, jwt }))])
  await within(isAsked, 'the question for keys')
  child.kill('SIGTERM')
  t.like(await finished(child), { code: 0, output: '', errors: '' })
})

test.serial('serves TLS with the files that the configuration names', async (t) => {
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

test.serial('serves what the deployment guide shows', async (t) => {
  const guide = allPages().find(({ path }) => path === 'docs/guides/deployment.md')
  const source = guide?.blocks.find(({ language }) => language === 'json')?.source ?? ''
  const { jwt } = JSON.parse(source) as { jwt: { secret: string } }
  const env = { WSE_HOST: '127.0.0.1', WSE_PORT: '0' }
  const line = await run(t, ['serve', '--config', configured(t, source)], env).nextLine()
  const token = await tokenOf('anna', {}, { key: jwt.secret })
  const connection = await connect(t, { port: Number(new URL(line).port) }, { token })
  t.like(await connection.subscribe(['news', 'prices:gold']), { success_topics: ['news', 'prices:gold'] })
})

test.serial('prefers the address of the environment to that of the file', async (t) => {
  const path = configured(t, '{ "host": "192.0.2.1", "port": 1 }')
  const child = run(t, ['serve', '--config', path], { WSE_HOST: '127.0.0.1', WSE_PORT: '0' })
  const { hostname, port } = new URL(await child.nextLine())
  t.is(hostname, '127.0.0.1')
  await connect(t, { port: Number(port) })
})

test.serial('prefers flags to the environment, and that to the file', async (t) => {
  const file = { host: '127.0.0.1', port: 0, path: '/file', topics: { allow: ['file'], deny: ['denied'] } }
  const args = ['--config', configured(t, JSON.stringify(file))]
  const env = { WSE_PATH: '/environment', WSE_TOPICS_ALLOW: 'environment, both' }
  const byEnvironment = run(t, ['serve', ...args], env)
  const connection = await connect(t, { port: await portOf(byEnvironment) }, { path: '/environment' })
  const asked = ['file', 'environment', 'both', 'denied']
  t.like(await connection.subscribe(asked), { success_topics: ['environment', 'both'] })
  // Without a command they are flags of serve.
  const byFlag = run(t, [...args, '--path', '/flag', '--topics-allow', 'one', '--topics-allow', 'two'], env)
  const other = await connect(t, { port: await portOf(byFlag) }, { path: '/flag' })
  t.like(await other.subscribe(['environment', 'one', 'two']), { success_topics: ['one', 'two'] })
})

test.serial('takes the option of a group from one place and its neighbour from another', async (t) => {
  const file = { host: '127.0.0.1', port: 0, jwt: { issuer: 'https://login.example' } }
  const child = run(t, ['serve', '--config', configured(t, JSON.stringify(file))], { WSE_JWT_SECRET: secret })
  const port = await portOf(child)
  await connect(t, { port }, { token: await tokenOf('anna', { iss: 'https://login.example' }) })
  const refused = await connect(t, { port }, { token: await tokenOf('anna'), greeted: false })
  t.is((await refused.closed()).code, 4401)
})

test.serial('understands the older name of the heartbeat, in seconds', async (t) => {
  const env = { WSE_HEARTBEAT_INTERVAL: '0.2' }
  const child = run(t, ['serve', '--host', '127.0.0.1', '--port', '0'], env)
  const connection = await connect(t, { port: await portOf(child) })
  await connection.nextControl('ping')
  const both = run(t, ['serve'], { ...env, WSE_HEARTBEAT_INTERVAL_MS: '200' })
  const { code, errors } = await finished(both)
  t.is(code, 2)
  t.is(
    errors.trim(),
    'WSE_HEARTBEAT_INTERVAL_MS and WSE_HEARTBEAT_INTERVAL both set option heartbeatIntervalMs: give one of them',
  )
})

test.serial('tells of a variable that is no setting, and goes on', async (t) => {
  const child = run(t, ['serve', '--port', '0'], { WSE_MAX_CONECTIONS: '5' })
  await child.nextLine()
  child.kill('SIGTERM')
  const { code, errors } = await finished(child)
  t.is(code, 0)
  t.is(errors, 'WSE_MAX_CONECTIONS is no setting of this version: ignored\n')
})

for (const [mistake, args, env, expected] of [
  [
    'a variable',
    [],
    { WSE_MAX_CONNECTIONS: 'many' },
    'option maxConnections: expected a whole number from 0 to 1048576 (WSE_MAX_CONNECTIONS)',
  ],
  ['a flag', ['--envelope', 'perhaps'], {}, 'option envelope: expected true or false (--envelope)'],
  [
    'a flag of a group',
    ['--jwt-secret', 'short'],
    {},
    'option jwt.secret: an HS256 secret has at least 32 bytes, this one has 5 (--jwt-secret)',
  ],
  ['the port', ['--port', 'http'], {}, 'option listen.port: expected a whole number from 0 to 65535 (--port)'],
  [
    'the file of a certificate',
    ['--tls-cert-file', '/nowhere/cert.pem', '--tls-key-file', '/nowhere/key.pem'],
    {},
    "cannot read /nowhere/cert.pem: Error: ENOENT: no such file or directory, open '/nowhere/cert.pem' " +
      '(--tls-cert-file, --tls-key-file)',
  ],
  ['a flag that is given twice', ['--path', '/a', '--path', '/b'], {}, '--path is given 2 times'],
  [
    'a group beside its member',
    ['--rate-limit', 'false', '--rate-limit-burst', '5'],
    {},
    '--rate-limit and --rate-limit-burst both set option rateLimit: give one of them',
  ],
] as const) {
  test.serial(`says one thing about a mistake in ${mistake}, and where it is`, async (t) => {
    const { code, errors } = await finished(run(t, ['serve', ...args], env))
    t.is(code, 2)
    t.is(errors, `${expected}\n`)
  })
}

test.serial('takes the options from a module, functions among them', async (t) => {
  const source = `
    export default {
      host: '127.0.0.1', port: 0,
      authenticate: ({ headers }) => (headers['x-api-key'] === 'key of anna' ? { userId: 'anna' } : null),
    }`
  const child = run(t, ['serve', '--config', written(t, 'wse.config.mjs', source)])
  const port = await portOf(child)
  await connect(t, { port }, { headers: { 'x-api-key': 'key of anna' } })
  const refused = await connect(t, { port }, { greeted: false })
  t.is((await refused.closed()).code, 4401)
})

test.serial('takes the options from TypeScript where the runtime loads it', async (t) => {
  const source = "export default { host: '127.0.0.1', port: 0 as number, path: '/typed' satisfies string }"
  const path = written(t, 'wse.config.ts', source)
  t.regex(await run(t, ['serve', '--config', path], {}, ['--import', 'tsx']).nextLine(), /\/typed$/)
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const child = run(t, ['serve', '--config', path])
  if (major > 22 || (major === 22 && minor >= 18)) t.regex(await child.nextLine(), /\/typed$/)
  else {
    const { code, errors } = await finished(child)
    t.is(code, 2)
    t.regex(errors, /loads no TypeScript; 22\.18 and newer do/)
  }
})

for (const [fault, name, source, expected] of [
  ['that exports nothing', 'wse.config.mjs', 'export const port = 1', 'expected a default export'],
  ['that fails', 'wse.config.mjs', "throw new Error('broken on purpose')", 'broken on purpose'],
  ['of another kind', 'wse.config.yaml', 'port: 1', 'expected .json, .mjs, .js or .ts'],
] as const) {
  test.serial(`refuses a module ${fault}`, async (t) => {
    const { code, errors } = await finished(run(t, ['serve', '--config', written(t, name, source)]))
    t.is(code, 2)
    t.true(errors.includes(expected), errors)
    t.false(errors.includes('    at '), errors)
  })
}

test.serial('writes its log as lines of JSON when it is asked for one', async (t) => {
  const child = run(t, ['serve', '--host', '127.0.0.1', '--port', '0', '--log-level', 'info'])
  const connection = await connect(t, { port: await portOf(child) })
  await connection.close()
  child.kill('SIGTERM')
  const { errors } = await finished(child)
  const lines = errors
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  t.true(
    lines.some(({ event, level }) => event === 'wse.connection.established' && level === 'info'),
    errors,
  )
})

test('has one flag and one variable for each setting', (t) => {
  for (const kind of ['flag', 'variable'] as const) {
    const names = SETTINGS.map((setting) => setting[kind])
    t.is(new Set(names).size, names.length)
  }
  const named = Object.fromEntries(SETTINGS.map(({ path, variable }) => [variable, path]))
  t.like(named, {
    WSE_PORT: 'port',
    WSE_JWT_SECRET: 'jwt.secret',
    WSE_MAX_CONNECTIONS_PER_USER: 'maxConnectionsPerUser',
    WSE_OUTBOUND_SLOW_TIMEOUT_MS: 'outbound.slowTimeoutMs',
    WSE_TLS_CERT_FILE: 'tls.certFile',
  })
})

for (const [fault, text, expected] of [
  ['an option that it does not know', '{ "prot": 1 }', 'option prot is unknown'],
  ['an option of a wrong kind', '{ "maxConnections": "many" }', 'option maxConnections: expected a whole number'],
  ['a port that is none', '{ "port": "http" }', 'option listen.port: expected a whole number'],
  ['text that is not JSON', '{ port: 1 }', 'is not JSON'],
  ['JSON that is no object', '[]', 'expected an object'],
] as const) {
  test.serial(`refuses a file with ${fault}`, async (t) => {
    const { code, errors } = await run(t, ['serve', '--config', configured(t, text)]).exited()
    t.not(code, 0)
    t.true(errors.includes(expected), errors)
    t.false(errors.includes('    at '), errors)
  })
}

test.serial('says where a file is not JSON, and nothing of what stands there', async (t) => {
  const path = configured(t, '{\n  "port": 0,\n  "jwt": { "secret": hunter2hunter2 }\n}')
  const { code, errors } = await finished(run(t, ['serve', '--config', path]))
  t.is(code, 2)
  t.is(errors, `${path} is not JSON: look at line 3, column 22\n`)
})

for (const [text, place] of [
  ['', 'line 1, column 1'],
  ['{', 'line 1, column 2'],
  ['{ "a": 1, }', 'line 1, column 11'],
  ["{ 'a': 1 }", 'line 1, column 3'],
  ['{ "a" 1 }', 'line 1, column 7'],
  ['[1, 2', 'line 1, column 6'],
  ['[1 2]', 'line 1, column 4'],
  ['[01]', 'line 1, column 3'],
  ['["a\nb"]', 'line 1, column 2'],
  ['["\\x"]', 'line 1, column 2'],
  ['{ "a": [true, { "b": tru } ] }', 'line 1, column 22'],
  ['// a comment\n{}', 'line 1, column 1'],
  ['{\r\n  "a": [-1.5e+3, "\\u00e9é\u007f"],\r\n  "b": nul\r\n}', 'line 3, column 8'],
  ['{} {}', 'line 1, column 4'],
] as const) {
  test(`says that ${JSON.stringify(text)} is not JSON at ${place}`, (t) => {
    t.throws(() => parseJson('it', text), { message: `it is not JSON: look at ${place}` })
  })
}

test.serial('reads a file with the mark that some editors put before a text', async (t) => {
  const path = configured(t, '\ufeff{ "host": "127.0.0.1", "port": 0, "path": "/marked" }')
  t.regex(await run(t, ['serve', '--config', path]).nextLine(), /\/marked$/)
})

const onFullDisk = existsSync('/dev/full') ? test.serial : test.serial.skip

onFullDisk('says in one line that its output cannot be written', async (t) => {
  const { errors, exit } = runUnread(t, ['serve', '--help'], openSync('/dev/full', 'w'))
  t.deepEqual(await exit, [1, null])
  t.regex(errors(), /^wse-server: cannot write: .*\n$/)
})

for (const [fault, args, expected] of [
  ['a file that is not there', ['serve', '--config', '/nowhere/wse.json'], 'ENOENT'],
  ['a command that it does not know', ['sevre'], "unknown command 'sevre'"],
  ['a flag that it does not know', ['serve', '--prot', '1'], "'--prot'"],
  ['no command', [], 'Usage:'],
] as const) {
  test.serial(`refuses ${fault} with exit code 2`, async (t) => {
    const { code, errors } = await run(t, [...args]).exited()
    t.is(code, 2)
    t.true(errors.includes(expected), errors)
  })
}

test.serial('explains itself', async (t) => {
  for (const [args, first] of [
    [['--help'], 'Usage: wse-server <command> [arguments]'],
    [['serve', '--help'], 'Usage: wse-server serve [--config FILE] [--OPTION VALUE …]'],
    [['token', '--help'], 'Usage: wse-server token --sub USER [flags]'],
    [['publish', '--help'], 'Usage: wse-server publish URL TYPE [PAYLOAD] [flags]'],
    [['tail', '-h'], 'Usage: wse-server tail URL TOPIC… [flags]'],
    [['doctor', '--help'], 'Usage: wse-server doctor URL [flags]'],
  ] as const) {
    const child = run(t, [...args])
    t.is(await child.nextLine(), first)
    t.is((await child.exited()).code, 0)
  }
  t.regex(await run(t, ['--version']).nextLine(), /^\d+\.\d+\.\d+/)
})

test.serial('does what the guide of the command shows', async (t) => {
  const { blocks = [] } = allPages().find(({ path }) => path === 'docs/guides/command.md') ?? {}
  const sources = blocks.filter(({ language }) => language === 'sh').map(({ source }) => source)
  const [serving = '', ...others] = sources
  const start = (source: string, address = ''): Child => {
    const own = source.replaceAll('npx wse-server', `"${process.execPath}" "${program}"`)
    const script = own.replace('--port 8000', '--port 0').replaceAll('localhost:8000', address)
    // A lone command takes the place of the shell, so that signals reach it.
    const isAlone = script.trim().split('\n').length === 1
    const child = new Child(['-ec', isAlone ? `exec ${script}` : script], {}, 'sh')
    t.teardown(() => child.kill())
    return child
  }
  const address = new URL(await start(serving).nextLine()).host.replace('0.0.0.0', '127.0.0.1')
  t.is(others.length, 6)
  for (const source of others) {
    const child = start(source.replace(/(doctor .*)/, '$1 --idle 0'), address)
    if (source.includes(' tail ')) {
      await until('the subscription', () => child.errors.startsWith('subscribed to news, prices:gold'))
      child.kill('SIGINT')
    }
    const { code, errors } = await finished(child)
    t.is(code, 0, `${source}${errors}`)
  }
})
