// The built package, hosted by every runtime that it is made for. The clients are always those of the tests.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { makeCertificate } from './harness/certificates.js'
import { Child, runProgram } from './harness/child.js'
import { program, written } from './harness/command.js'
import { connect } from './harness/connect.js'
import { get } from './harness/host.js'
import { type Address, frameBytes, OP, openSocket, upgradeRequest } from './harness/socket.js'

const paths = new Map<string, string>()

test.before('finds the runtimes, or installs them', async (t) => {
  t.timeout(600_000)
  const script = spawn(process.execPath, [fileURLToPath(new URL('../scripts/runtimes.mjs', import.meta.url))])
  script.stderr.pipe(process.stderr)
  const [output, [code]] = await Promise.all([text(script.stdout), once(script, 'close')])
  t.is(code, 0, output)
  for (const [, name = '', path = ''] of output.matchAll(/^(\w+)\t(.+)$/gm)) paths.set(name, path)
})

/** What a client does with a service: everything comes back, in order, early bytes and large messages included. */
async function exchange(t: ExecutionContext, service: Address): Promise<void> {
  const [connection, other] = [await connect(t, service), await connect(t, service)]
  await connection.roundTrip()
  const large = 'x'.repeat(1_000_000)
  for (const each of ['漢字', large]) {
    connection.send(each)
    t.true((await connection.nextText()) === each)
  }
  const bytes = Buffer.alloc(500_000, 7)
  for (let n = 0; n < 8; n++) connection.send(bytes)
  for (let n = 0; n < 8; n++) t.true(bytes.equals(await connection.nextBytes()))
  connection.send({ t: 'chat', p: { n: 1 } })
  for (const each of [connection, other]) t.is((await each.next('news')).p.n, 1)

  const early = Array.from({ length: 1_000 }, (_, n) => frameBytes(OP.binary, String(n)))
  const socket = await openSocket(t, service)
  socket.write(Buffer.concat([Buffer.from(upgradeRequest()), ...early]))
  for (let n = 0; n < 1_000; n++) t.is((await socket.next(OP.binary)).payload.toString(), String(n))
  socket.write(frameBytes(OP.close, Buffer.from([0x03, 0xe8])))
  t.is((await socket.closeFrame()).code, 1000)
  await socket.ended()
  socket.cut()
}

interface Greeting {
  ports: [plain: number, encrypted: number, http: number, https: number]
  version: string
  isOneClass: boolean
}

const runtimes: [name: string, title: string, major: number, flags: string[]][] = [
  ['node20', 'Node.js 20', 20, []],
  ['node22', 'Node.js 22', 22, []],
  ['node24', 'Node.js 24', 24, []],
  ['node26', 'Node.js 26', 26, []],
  ['bun', 'Bun', 1, []],
  ['deno', 'Deno', 2, ['run', '--allow-net', '--allow-read', '--allow-ffi', '--allow-env']],
]

for (const [name, title, major, flags] of runtimes) {
  test.serial(`has the command on ${title}`, async (t) => {
    const start = (...args: string[]) => {
      const child = new Child([...flags, program, ...args], {}, paths.get(name) ?? name)
      t.teardown(() => child.kill())
      return child
    }
    const source = "export default { host: '127.0.0.1', port: 0 as number, topics: { allow: ['news'] } }"
    const path = written(t, 'wse.config.ts', source)
    // The one runtime that loads no TypeScript says so.
    if (name === 'node20') t.regex((await start('serve', '--config', path).exited()).errors, /loads no TypeScript/)
    const server =
      name === 'node20' ? start('serve', '--host', '127.0.0.1', '--port', '0') : start('serve', '--config', path)
    const address = await server.nextLine()
    t.like(await start('doctor', address, '--idle', '0').exited(), { code: 0, errors: '' })
    t.like(await start('publish', address, 'hello').exited(), { code: 0, errors: '' })
    server.kill('SIGTERM')
    t.is((await server.exited()).code, 0)
  })

  test.serial(`serves, closes and ends on ${title}`, async (t) => {
    const certificate = await makeCertificate()
    const child = runProgram(t, 'runtime', [JSON.stringify(certificate)], [paths.get(name) ?? name, ...flags])
    const { ports, version, isOneClass } = JSON.parse(await child.nextLine()) as Greeting
    t.is(Number.parseInt(version, 10), major)
    t.true(isOneClass)
    const [plain, encrypted, http, https] = ports
    const services = [plain, encrypted, http, https].map((port, n) => ({
      port,
      ...(n % 2 && { ca: certificate.cert }),
    }))
    for (const service of services) await exchange(t, service)
    t.is((await get({ port: http }, '/wse/health')).status, 200)
    t.deepEqual(await get({ port: http }, '/page'), { status: 200, body: 'host' })

    const last = await Promise.all(services.map((service) => connect(t, service)))
    last[0]?.send({ t: 'stop', p: {} })
    for (const connection of last) t.is((await connection.closed()).code, 1012)
    t.is(await child.nextLine(), 'closed')
    t.like(await child.exited(), { code: 0, errors: '' })
  })
}

test.serial('names the permission that Deno lacks', async (t) => {
  const command = paths.get('deno') ?? 'deno'
  const child = runProgram(
    t,
    'runtime',
    [],
    [command, 'run', '--no-prompt', '--allow-net', '--allow-read', '--allow-env'],
  )
  const { code, errors } = await child.exited()
  t.is(code, 1)
  t.regex(errors, /the addon cannot be loaded: .*--allow-ffi/)
})
