// Verifies that `wse-server doctor` names the step that fails, and what usually leads to it: against real servers,
// nginx, and proxies that do what some do.
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createEncrypted } from 'node:https'
import type { AddressInfo } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import { WseServer } from 'wse-server'
import type { Finding, Step } from '../bin/finding.js'
import { makeCertificate } from './harness/certificates.js'
import { finished, run, runUnread, written } from './harness/command.js'
import { connect } from './harness/connect.js'
import { startHost } from './harness/host.js'
import { hasNginx, startHoarder, startNginx } from './harness/proxy.js'
import { startServer } from './harness/server.js'
import { startStranger } from './harness/stranger.js'
import { secret, tokenOf } from './harness/tokens.js'

// Without nginx these tests are skipped and listed as such.
const behindNginx = hasNginx() ? test.serial : test.serial.skip
const lateClock = new URL('harness/late-clock.mjs', import.meta.url).href

interface Examined {
  code: number | null
  findings: Finding[]
  /** The statuses by step; of two findings of a step the later one's. */
  statuses: Record<string, string>
  /** The first finding that is a failure. */
  failure: Finding | undefined
}

/** What the doctor finds; it waits for no heartbeat unless the arguments say so. */
async function examine(
  t: ExecutionContext,
  url: string,
  args: string[] = [],
  { env = {}, flags = [] }: { env?: Record<string, string>; flags?: string[] } = {},
): Promise<Examined> {
  const child = run(t, ['doctor', url, '--json', '--idle', '0', '--timeout', '3', ...args], env, flags)
  const { code, output, errors } = await finished(child)
  t.is(errors, '')
  const findings = output.split('\n').map((line) => JSON.parse(line) as Finding)
  const statuses = Object.fromEntries(findings.map(({ step, status }) => [step, status]))
  return { code, findings, statuses, failure: findings.find(({ status }) => status === 'fail') }
}

/** One failure, in this step, with this in its words. */
function failsAt(t: ExecutionContext, { code, failure, findings }: Examined, step: Step, words: RegExp): void {
  t.is(code, 1)
  t.is(failure?.step, step, JSON.stringify(findings))
  t.regex(`${failure?.text} ${failure?.cause}`, words)
}

const at = ({ port }: { port: number }, path = '/wse'): string => `ws://127.0.0.1:${port}${path}`

test.serial('finds no fault with a server that has none', async (t) => {
  const server = await startServer(t, { jwt: { secret }, heartbeatIntervalMs: 300 })
  const args = ['--idle', '20', '--token', await tokenOf('anna')]
  const { code, statuses, findings } = await examine(t, at(server), args)
  t.is(code, 0, JSON.stringify(findings))
  const expected = { tcp: 'ok', tls: 'skip', http: 'ok', token: 'ok', upgrade: 'ok', frames: 'ok', idle: 'ok' }
  t.like(statuses, { ...expected, greeting: 'ok' })
  t.regex(findings.find(({ step }) => step === 'greeting')?.text ?? '', /as the user anna/)
})

test.serial('tells people what it tells programs', async (t) => {
  const { port } = await startServer(t)
  const child = run(t, ['doctor', `http://localhost:${port}/wse`, '--idle', '0'])
  const { code, output } = await finished(child)
  t.is(code, 0, output)
  t.regex(output, /^ok {4}tcp {7}127\.0\.0\.1 port/m)
  t.regex(output, /^skip {2}idle/m)
})

test.serial('says that a name has no address', async (t) => {
  failsAt(t, await examine(t, 'ws://nobody.invalid/wse'), 'name', /nobody\.invalid has no address: \w+.*DNS/)
})

test.serial('says that nobody listens', async (t) => {
  const server = new WseServer()
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
  await server.close()
  failsAt(t, await examine(t, at({ port })), 'tcp', /ECONNREFUSED.*nothing listens there/)
})

test.serial('says that a port speaks no TLS, and that one wants it', async (t) => {
  const plain = await startServer(t)
  failsAt(t, await examine(t, `wss://127.0.0.1:${plain.port}/wse`), 'tls', /try ws:\/\//)
  const server = new WseServer()
  t.teardown(() => server.close())
  const { port } = await server.listen({ host: '127.0.0.1', port: 0, tls: await makeCertificate() })
  failsAt(t, await examine(t, at({ port })), 'upgrade', /400.*wants TLS \(wss:\/\/\)/)
})

for (const [fault, validity, address, isTrusted, words] of [
  ['that nobody trusts', {}, '127.0.0.1', false, /DEPTH_ZERO_SELF_SIGNED_CERT.*signed its certificate itself/],
  ['of another name', {}, '127.0.0.2', true, /ERR_TLS_CERT_ALTNAME_INVALID.*another site/],
  ['that is expired', { from: -3, to: -1 }, '127.0.0.1', true, /CERT_HAS_EXPIRED.*renewal/],
  ['of tomorrow', { from: 1, to: 2 }, '127.0.0.1', true, /CERT_NOT_YET_VALID.*clock/],
] as const) {
  test.serial(`says that the server has a certificate ${fault}`, async (t) => {
    const certificate = await makeCertificate(validity)
    const http = createEncrypted(certificate).listen(0)
    t.teardown(() => http.close())
    await once(http, 'listening')
    const args = isTrusted ? ['--ca', written(t, 'ca.pem', certificate.cert)] : []
    const url = `wss://${address}:${(http.address() as AddressInfo).port}/wse`
    failsAt(t, await examine(t, url, args), 'tls', words)
  })
}

test.serial('says where a redirection leads, which no client follows', async (t) => {
  const http = createServer((_, response) => response.writeHead(301, { location: 'https://new.example/' }).end())
  http.on('upgrade', (_, socket) =>
    socket.end(
      'HTTP/1.1 301 Moved Permanently\r\nLocation: wss://new.example/wse?token=hunter2\r\nContent-Length: 0\r\n\r\n',
    ),
  )
  t.teardown(() => http.close())
  await once(http.listen(0, '127.0.0.1'), 'listening')
  const found = await examine(t, at(http.address() as AddressInfo))
  failsAt(t, found, 'upgrade', /301.*wss:\/\/new\.example\/wse.*follow no redirection/)
  t.false(JSON.stringify(found.findings).includes('hunter2'))
})

test.serial('says that the path is another one', async (t) => {
  const found = await examine(t, at(await startHost(t), '/ws'))
  t.is(found.statuses.http, 'warn')
  failsAt(t, found, 'upgrade', /404.*the path is another one/)
})

test.serial('says that the token is missing, wrong, or too old', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  failsAt(t, await examine(t, at(server)), 'greeting', /AUTH_REQUIRED.*wants a token/)
  const wrong = await tokenOf('anna', {}, { key: 'another secret, which has thirty-two bytes too' })
  const found = await examine(t, at(server), [], { env: { WSE_TOKEN: wrong } })
  t.is(found.statuses.token, 'ok')
  failsAt(t, found, 'greeting', /AUTH_FAILED.*another secret/)
  const old = await tokenOf('anna', { exp: 1 })
  failsAt(t, await examine(t, at(server), ['--token', old]), 'token', /expired \d+ s ago/)
})

test.serial('says that the clock of this machine is behind', async (t) => {
  const server = await startServer(t)
  const found = await examine(t, at(server), [], { flags: ['--import', lateClock] })
  failsAt(t, found, 'clock', /3[56]\d\d s ahead of this machine's.*NTP/)
})

test.serial('holds the token against the clock of whoever answers', async (t) => {
  const date = new Date(Date.now() + 7_200_000).toUTCString()
  const stranger = await startStranger(t, (_, response) => response.writeHead(404, { date }).end())
  const found = await examine(t, at(stranger), ['--token', await tokenOf('anna')])
  failsAt(t, found, 'clock', /7[12]\d\d s ahead/)
  t.regex(found.findings.find(({ step }) => step === 'token')?.text ?? '', /expired/)
})

test.serial('takes the date of a cached answer for no clock', async (t) => {
  const headers = { date: new Date(Date.now() - 7_200_000).toUTCString(), age: '7200' }
  const stranger = await startStranger(t, (_, response) => response.writeHead(404, headers).end())
  const { statuses } = await examine(t, at(stranger), ['--token', await tokenOf('anna')])
  t.like(statuses, { clock: 'skip', token: 'ok' })
})

for (const [fault, answer, words] of [
  ['stands still', (_, response) => void response.write('{'), /answered with 200 .*the rest stands still$/],
  ['is cut', (_, response) => void response.write('{', () => response.destroy()), /the rest is cut: ECONNRESET$/],
] as [string, RequestListener, RegExp][]) {
  test.serial(`blames no TLS when an answer ${fault}, and goes on`, async (t) => {
    const stranger = await startStranger(t, answer)
    const { statuses, findings } = await examine(t, at(stranger), ['--timeout', '0.5'])
    const finding = findings.find(({ step }) => step === 'http')
    t.is(finding?.status, 'warn')
    t.regex(finding?.text ?? '', words)
    t.notRegex(finding?.cause ?? '', /TLS/)
    t.is(statuses.upgrade, 'fail')
  })
}

test.serial('refuses an algorithm that is none', async (t) => {
  const [, claims] = (await tokenOf('anna')).split('.')
  const header = Buffer.from('{"alg":{"toString":1}}').toString('base64url')
  const server = await startServer(t, { jwt: { secret } })
  const found = await examine(t, at(server), ['--token', `${header}.${claims}.`])
  failsAt(t, found, 'token', /alg is none of HS256, RS256, ES256/)
})

test.serial('shows what a server says without obeying it', async (t) => {
  const orders = '\u001b]0;title\u0007\u009b2J'
  const stranger = await startStranger(
    t,
    (_, response) => response.writeHead(404, { server: 'a\u009b2J' }).end(),
    (socket) => {
      socket.send(JSON.stringify({ t: 'error', p: { code: 'X', message: `${orders}\nok    greeting` } }))
      socket.close(4000)
    },
  )
  for (const args of [[], ['--json']]) {
    const { code, output } = await finished(run(t, ['doctor', at(stranger), ...args]))
    t.is(code, 1)
    t.notRegex(output.replaceAll('\n', ''), /\p{Cc}/u)
    t.notRegex(output, /^ok {4}greeting/m)
    t.true(output.includes('refused with X: \\u001b]0;title\\u0007\\u009b2J'), output)
  }
})

test.serial('keeps its verdict when nobody reads it', async (t) => {
  const server = new WseServer()
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
  await server.close()
  const { child, exit, errors } = runUnread(t, ['doctor', at({ port }), '--json'])
  child.stdout?.destroy()
  t.deepEqual(await exit, [1, null])
  t.is(errors(), '')
})

test.serial('says that the server has no room', async (t) => {
  const server = await startServer(t, { maxConnections: 1 })
  await connect(t, server)
  failsAt(t, await examine(t, at(server)), 'upgrade', /503.*maxConnections/)
})

test.serial('says that something holds back what the server sends', async (t) => {
  const proxy = await startHoarder(t, await startServer(t), { fullBytes: 4_096 })
  failsAt(t, await examine(t, at(proxy)), 'greeting', /no server_ready.*until a buffer is full/)
})

test.serial('warns when what the server sends comes in bundles', async (t) => {
  const proxy = await startHoarder(t, await startServer(t), { holdMs: 900 })
  const { code, findings } = await examine(t, at(proxy))
  t.is(code, 0)
  t.like(findings.find(({ step }) => step === 'frames') ?? {}, { status: 'warn' })
})

behindNginx('finds no fault with nginx as the guide shows it, nor when it buffers answers', async (t) => {
  const host = await startHost(t, { heartbeatIntervalMs: 300 })
  for (const buffering of ['off', 'on']) {
    const proxy = await startNginx(t, [host], (text) =>
      text.replace('proxy_buffering off', `proxy_buffering ${buffering}`),
    )
    const { code, statuses, findings } = await examine(t, at(proxy), ['--idle', '20'])
    t.is(code, 0, JSON.stringify(findings))
    t.like(statuses, { http: 'ok', clock: 'ok', upgrade: 'ok', frames: 'ok', idle: 'ok' })
    t.regex(findings.find(({ step }) => step === 'http')?.text ?? '', /by nginx/)
  }
})

for (const [fault, from, to] of [
  ['drops the headers of an upgrade', /proxy_set_header (Upgrade|Connection) .*\n/g, '\n'],
  ['asks with HTTP/1.0', /proxy_http_version 1\.1;/, 'proxy_http_version 1.0;'],
] as const) {
  behindNginx(`says that nginx ${fault}`, async (t) => {
    for (const service of [await startHost(t), await startServer(t)]) {
      const proxy = await startNginx(t, [service], (text) => text.replace(from, to))
      const found = await examine(t, at(proxy))
      t.is(found.statuses.http, 'ok')
      failsAt(t, found, 'upgrade', /answered with 4\d\d.*Upgrade and Connection.*proxy_http_version 1\.1/)
    }
  })
}

behindNginx('says that nginx reaches no server', async (t) => {
  const server = new WseServer()
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
  await server.close()
  failsAt(t, await examine(t, at(await startNginx(t, [{ port }]))), 'upgrade', /502.*reaches no server/)
})

/** Sends a message to every connection, again and again, until the test is over. */
function chat(t: ExecutionContext, server: WseServer): void {
  const timer = setInterval(() => server.broadcastAll('{"t":"news"}'), 10)
  t.teardown(() => clearInterval(timer))
}

test.serial('takes no message of the application for a heartbeat', async (t) => {
  const server = await startServer(t, { heartbeatIntervalMs: 0 })
  chat(t, server)
  const { code, findings } = await examine(t, at(server), ['--idle', '1'])
  t.is(code, 0)
  const { status, text = '' } = findings.find(({ step }) => step === 'idle') ?? {}
  t.is(status, 'warn')
  t.regex(text, /no heartbeat within/)
})

test.serial('says that there was no silence to live through', async (t) => {
  const server = await startServer(t, { heartbeatIntervalMs: 2_000 })
  chat(t, server)
  const { code, findings } = await examine(t, at(server), ['--idle', '20'])
  t.is(code, 0)
  const { status, text = '' } = findings.find(({ step }) => step === 'idle') ?? {}
  t.is(status, 'skip')
  t.regex(text, /messages of the application left no silence/)
})

behindNginx('says that nginx cuts a silence that is shorter than the heartbeat', async (t) => {
  const host = await startHost(t)
  const proxy = await startNginx(t, [host], (text) => text.replaceAll('75s', '1s'))
  const found = await examine(t, at(proxy), ['--idle', '20'])
  failsAt(t, found, 'idle', /cut without a close code.*proxy_read_timeout/)
})

behindNginx('says that nobody trusts the certificate of nginx, unless told to', async (t) => {
  const { cert, key } = await makeCertificate()
  const [certFile, keyFile] = [written(t, 'cert.pem', cert), written(t, 'key.pem', key)]
  const host = await startHost(t)
  const { port } = await startNginx(t, [host], (text) =>
    text.replace('listen 80;', `listen 80 ssl; ssl_certificate ${certFile}; ssl_certificate_key ${keyFile};`),
  )
  const url = `wss://127.0.0.1:${port}/wse`
  failsAt(t, await examine(t, url), 'tls', /DEPTH_ZERO_SELF_SIGNED_CERT/)
  const { code, statuses } = await examine(t, url, ['--ca', certFile])
  t.is(code, 0)
  // The certificate of the tests ends tomorrow.
  t.like(statuses, { tls: 'warn', upgrade: 'ok', frames: 'ok' })
})
