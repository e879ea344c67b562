// Verifies that the command's clients, `publish` and `tail`, and its tokens do what their help says.
import test from 'ava'
import { exportSPKI, generateKeyPair, jwtVerify, SignJWT } from 'jose'
import { WseServer } from 'wse-server'
import { inspect } from '../bin/jwt.js'
import { until } from './harness/arrivals.js'
import { finished, run, runUnread, written } from './harness/command.js'
import { Application, startServer } from './harness/server.js'
import { startStranger } from './harness/stranger.js'
import { secret, tokenOf } from './harness/tokens.js'

const at = ({ port }: { port: number }): string => `ws://127.0.0.1:${port}/wse`

/** Resolves when this many connections hold the topic. */
const subscribed = (server: WseServer, topic = 'news', count = 1): Promise<void> =>
  until('the subscription', () => server.getTopicSubscriberCount(topic) === count)

test.serial('publishes a message and prints what is answered', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  const application = new Application(server)
  const args = ['publish', at(server), 'chat', '{"text":"hello"}', '--wait', '20']
  const child = run(t, args, { WSE_TOKEN: await tokenOf('anna') })
  const { connId, data } = await application.next('msg')
  t.deepEqual(data, { t: 'chat', p: { text: 'hello' } })
  server.send(connId, '{"t":"heard",\n"p":{"n":9007199254740993}}')
  const line = await child.nextLine()
  t.like(JSON.parse(line), { t: 'heard' })
  t.true(line.includes('9007199254740993'))
  child.kill('SIGINT')
})

test.serial('ends when the message was read, without a payload too', async (t) => {
  const server = await startServer(t)
  const application = new Application(server)
  const { code, output } = await finished(run(t, ['publish', at(server), 'hello']))
  t.is(code, 0)
  t.is(output, '')
  t.deepEqual((await application.next('msg')).data, { t: 'hello', p: {} })
  t.is((await application.next('disconnect')).code, 1000)
})

test.serial('says that an error came back, by its exit code too', async (t) => {
  const server = await startServer(t)
  const child = run(t, ['publish', at(server), 'subscription_update', '{"action":"sing","topics":["a"]}'])
  const { code, output } = await finished(child)
  t.is(code, 1)
  t.like(JSON.parse(output.split('\n')[0] ?? ''), { t: 'error', p: { code: 'INVALID_ACTION' } })
})

test.serial('says why nothing can be published, without a stack', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  const { port } = server
  for (const [args, code, words] of [
    [['publish', at(server), 'chat'], 1, /AUTH_REQUIRED/],
    [['publish', `ws://127.0.0.1:${port}/other`, 'chat'], 1, /answered with 404/],
    [['publish', 'localhost', 'chat'], 2, /^the URL is no address/],
    [['publish', 'ftp://anna:hunter2@localhost/?token=hunter2', 'chat'], 2, /^the URL is no address/],
    [['publish', at(server)], 2, /<type> is missing/],
    [['publish', at(server), 'chat', '[]'], 2, /the payload: expected a JSON object/],
    [
      ['publish', at(server), 'chat', '{"password":hunter2}'],
      2,
      /^the payload is not JSON: look at line 1, column 13$/m,
    ],
    [['publish', at(server), 'chat', '--wait', 'long'], 2, /--wait: expected seconds/],
    [['publish', at(server), 'chat', '--timeout', '0'], 2, /^--timeout: without any time/],
    [['publish', at(server), 'chat', '--header', 'Cookie=hunter2'], 2, /^--header: expected 'Name: value'$/m],
    [['publish', at(server), 'chat', '--header=-h'], 2, /^--header: expected 'Name: value'$/m],
  ] as const) {
    const { code: actual, errors } = await finished(run(t, [...args]))
    t.is(actual, code, errors)
    t.regex(errors, words)
    t.false(errors.includes('    at '), errors)
    t.false(errors.includes('hunter2'), errors)
  }
})

test.serial('takes for a message what stands behind two dashes', async (t) => {
  const server = await startServer(t)
  const application = new Application(server)
  t.is((await finished(run(t, ['publish', at(server), '--', '--help']))).code, 0)
  t.deepEqual((await application.next('msg')).data, { t: '--help', p: {} })
})

test.serial('prints what a server says, and nothing that a terminal would obey', async (t) => {
  const orders = '\u001b]0;title\u0007\u009b2J\u007f\u202e'
  const refusing = await startStranger(
    t,
    (_, response) => void response.end(),
    (socket) => {
      socket.send(JSON.stringify({ t: 'error', p: { code: 'X', message: orders } }))
      socket.close(4000, 'no')
    },
  )
  const chatting = await startStranger(
    t,
    (_, response) => void response.end(),
    (socket) => {
      socket.send('{"t":"server_ready"}')
      socket.send(JSON.stringify({ t: 'text', p: { orders } }))
      socket.send(orders)
      socket.on('message', () => socket.close(4000, orders))
    },
  )
  for (const [server, words] of [
    [refusing, 'refused with X: \\u001b]0;title\\u0007\\u009b2J\\u007f\\u202e'],
    [chatting, 'closed with 4000: \\u001b]0;title\\u0007\\u009b2J\\u007f\\u202e'],
  ] as const) {
    for (const args of [
      ['publish', at(server), 'chat'],
      ['tail', at(server), 'news'],
    ]) {
      const { code, output, errors } = await finished(run(t, args))
      t.is(code, 1)
      t.notRegex(`${output}${errors}`.replaceAll('\n', ''), /[\p{Cc}\u202e]/u)
      t.true(errors.includes(words), errors)
      if (server === refusing) continue
      const lines = output.split('\n').map((line) => JSON.parse(line) as unknown)
      t.deepEqual(lines, [{ t: 'text', p: { orders } }, orders])
    }
  }
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test.serial(`tails a topic line by line until ${signal}`, async (t) => {
    const server = await startServer(t, { topics: { allow: ['news', 'prices:*'] } })
    const application = new Application(server)
    const child = run(t, ['tail', at(server), 'news', 'prices:gold'])
    await subscribed(server, 'prices:gold')
    server.broadcast('news', '{"t":"news",\n  "p":{"n":1}}')
    server.broadcast('prices:gold', { t: 'price', p: { n: 2 } })
    server.broadcast('news', 'plain "text"')
    t.like(JSON.parse(await child.nextLine()), { t: 'news', p: { n: 1 } })
    t.like(JSON.parse(await child.nextLine()), { t: 'price', p: { n: 2 } })
    t.is(JSON.parse(await child.nextLine()), 'plain "text"')
    child.kill(signal)
    const { code, output } = await finished(child)
    t.is(code, 0)
    t.is(output, '')
    t.is((await application.next('disconnect')).code, 1000)
  })
}

test.serial('tails also what a server sends right behind its greeting', async (t) => {
  const server = await startServer(t, { topics: { allow: ['news'] } })
  const application = new Application(server)
  const child = run(t, ['tail', at(server), 'news', '--all'])
  const { connId } = await application.next('connect')
  server.send(connId, '{"t":"welcome"}')
  t.like(JSON.parse(await child.nextLine((line) => line.includes('welcome'))), { t: 'welcome' })
  t.like(JSON.parse(await child.nextLine((line) => line.includes('update'))), { t: 'subscription_update' })
})

test.serial('comes back when the server does, and subscribes again', async (t) => {
  const options = { topics: { allow: ['news'] } }
  const server = await startServer(t, options)
  const child = run(t, ['tail', at(server), 'news'])
  await subscribed(server)
  await server.close()
  const next = new WseServer(options)
  t.teardown(() => next.close())
  await next.listen({ host: '127.0.0.1', port: server.port })
  await subscribed(next)
  next.broadcast('news', { t: 'news', p: { n: 2 } })
  t.like(JSON.parse(await child.nextLine()), { p: { n: 2 } })
  child.kill('SIGINT')
  const { code, errors } = await finished(child)
  t.is(code, 0)
  t.regex(errors, /^subscribed to news\nclosed with 1012.*; back in \d+\.\d s\n/)
})

test.serial('ends at once when it is stopped between two connections', async (t) => {
  const server = await startServer(t, { topics: { allow: ['news'] } })
  const child = run(t, ['tail', at(server), 'news'])
  await subscribed(server)
  await server.close()
  child.kill('SIGINT')
  t.is((await finished(child)).code, 0)
})

test.serial('does not come back to a server that does not want it', async (t) => {
  const server = await startServer(t, { jwt: { secret }, topics: { allow: ['news'] } })
  const refused = await finished(run(t, ['tail', at(server), 'news']))
  t.is(refused.code, 1)
  t.regex(refused.errors, /AUTH_REQUIRED/)

  const env = { WSE_TOKEN: await tokenOf('anna') }
  const denied = await finished(run(t, ['tail', at(server), 'secrets'], env))
  t.is(denied.code, 1)
  t.regex(denied.errors, /not allowed: secrets\n.*none of the topics is allowed/)

  const child = run(t, ['tail', at(server), 'news'], env)
  await subscribed(server)
  server.disconnectUser('anna')
  const ended = await finished(child)
  t.is(ended.code, 1)
  t.regex(ended.errors, /closed with 4403/)
})

test.serial('ends quietly when nobody reads its output any more', async (t) => {
  const server = await startServer(t, { topics: { allow: ['news'] } })
  const { child, exit } = runUnread(t, ['tail', at(server), 'news'])
  await subscribed(server)
  child.stdout?.destroy()
  const flood = setInterval(() => server.broadcast('news', { t: 'news' }), 10)
  t.teardown(() => clearInterval(flood))
  t.deepEqual(await exit, [0, null])
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test.serial(`ends at the first ${signal} although whoever reads its output stands still`, async (t) => {
    const server = await startServer(t, { topics: { allow: ['news'] }, outbound: { slowTimeoutMs: 0 } })
    const { child, exit } = runUnread(t, ['tail', at(server), 'news'])
    await subscribed(server)
    const text = 'x'.repeat(64 << 10)
    // What the server cannot send any more shows that nothing is taken at the other end.
    await until('the command stands still', () => {
      server.broadcast('news', { t: 'news', p: { text } })
      return server.memory().longestOutboundBytes > 1 << 20
    })
    child.kill(signal)
    t.deepEqual(await exit, [0, null])
  })
}

test.serial('makes tokens that others can read and the server takes', async (t) => {
  const args = ['token', '--sub', 'anna', '--ttl', '60', '--issuer', 'here', '--audience', 'desk', '--kid', 'k1']
  const child = run(t, [...args, '--claims', '{"roles":["trader"]}', '--secret-env', 'MY_SECRET'], {
    MY_SECRET: secret,
  })
  const token = await child.nextLine()
  const { payload, protectedHeader } = await jwtVerify(token, new TextEncoder().encode(secret))
  t.like(payload, { sub: 'anna', iss: 'here', aud: 'desk', roles: ['trader'] })
  t.is((payload.exp ?? 0) - (payload.iat ?? 0), 60)
  t.like(protectedHeader, { alg: 'HS256', kid: 'k1' })
  const server = await startServer(t, { jwt: { secret, issuer: 'here', audience: 'desk' } })
  const { code, errors } = await finished(run(t, ['publish', at(server), 'hello'], { WSE_TOKEN: token }))
  t.is(code, 0, errors)
})

test.serial('inspects a token without showing what is secret', async (t) => {
  const token = await tokenOf('anna', { role: 'trader' })
  const { code, output } = await finished(run(t, ['token', 'inspect', token], { JWT_SECRET: secret }))
  t.is(code, 0)
  t.like(JSON.parse(output), {
    claims: { sub: 'anna', role: 'trader' },
    verdict: 'good',
    faults: [],
  })
  t.like(JSON.parse(output), { header: { alg: 'HS256' } })
  t.false(output.includes(token.split('.')[2] ?? ''))
  t.false(output.includes(secret))
})

for (const [fault, claims, expected, words] of [
  ['is expired', { exp: 1 }, {}, /^it expired \d+ s ago$/],
  ['has no end', { exp: undefined }, {}, /^exp is missing$/],
  ['is not good yet', { nbf: 99_999_999_999 }, {}, /good only in/],
  ['has no user', { sub: '' }, {}, /^sub is missing/],
  ['has another issuer', { iss: 'there' }, { issuer: 'here' }, /^iss is "there", expected "here"$/],
  ['has no audience', {}, { audience: 'desk' }, /^aud is undefined, expected "desk"$/],
  ['has another algorithm', {}, { algorithm: 'RS256' }, /^alg is HS256, expected RS256$/],
  ['is too large', { much: 'x'.repeat(8_192) }, {}, /^it is larger than 8192 bytes$/],
] as const) {
  test(`says that a token ${fault}`, async (t) => {
    const { faults = [] } = inspect(await tokenOf('anna', claims), { now: Date.now(), ...expected }) ?? {}
    t.is(faults.length, 1, faults.join())
    t.regex(faults[0] ?? '', words)
  })
}

test.serial('knows the signature of ES256, and no secret that is a public key', async (t) => {
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  const key = await exportSPKI(publicKey)
  const keyFile = written(t, 'public.pem', key)
  const inspected = (token: string, ...flags: string[]) =>
    finished(run(t, ['token', 'inspect', token, '--key-file', keyFile, ...flags]))
  const signed = new SignJWT({ sub: 'anna', exp: 99_999_999_999 }).setProtectedHeader({ alg: 'ES256' })
  const token = await signed.sign(privateKey)
  const { code, output } = await inspected(token, '--alg', 'ES256')
  t.is(code, 0)
  t.like(JSON.parse(output), { verdict: 'good', faults: [] })
  const { code: refusal, output: reason } = await inspected(await tokenOf('anna', {}, { key }))
  t.is(refusal, 1)
  t.regex(JSON.parse(reason).faults.join(), /PEM/)
})

test.serial('reads a token from the standard input and refuses it by the exit code', async (t) => {
  const child = run(t, ['token', 'inspect', '--issuer', 'here'], { JWT_SECRET: secret })
  child.say(await tokenOf('anna', { iss: 'there' }))
  child.finish()
  const { code, output } = await finished(child)
  t.is(code, 1)
  t.like(JSON.parse(output), { verdict: 'refused', faults: ['iss is "there", expected "here"'] })
})

test.serial('refuses what is no token, by the exit code too', async (t) => {
  const { code, output } = await finished(run(t, ['token', 'inspect', 'nonsense']))
  t.is(code, 1)
  t.like(JSON.parse(output), { verdict: 'refused' })
  t.regex(output, /this is no token/)
})

test.serial('tells the key of one server from that of another', async (t) => {
  const keyFile = written(t, 'secret', `${secret}\n`)
  const token = await tokenOf('anna', {}, { key: 'another secret, which has thirty-two bytes too' })
  const { code, output } = await finished(run(t, ['token', 'inspect', token, '--key-file', keyFile]))
  t.is(code, 1)
  t.like(JSON.parse(output), { verdict: 'refused', faults: ['no known key has signed the token'] })
  const { output: unchecked } = await finished(run(t, ['token', 'inspect', token], { JWT_SECRET: '' }))
  t.like(JSON.parse(unchecked), { verdict: 'good, if the signature is' })
})

for (const [mistake, args, env, words] of [
  ['no user', ['token'], {}, /--sub is missing/],
  ['no key', ['token', '--sub', 'anna'], { JWT_SECRET: '' }, /no key: set JWT_SECRET/],
  [
    'a variable that is not set',
    ['token', '--sub', 'a', '--secret-env', 'NO_SUCH'],
    {},
    /NO_SUCH of --secret-env is not/,
  ],
  [
    'an algorithm that is none',
    ['token', '--sub', 'a', '--alg', 'none'],
    { JWT_SECRET: secret },
    /^alg: expected one of HS256, RS256, ES256$/m,
  ],
  ['a short secret', ['token', '--sub', 'a'], { JWT_SECRET: 'short' }, /32 bytes/],
  [
    'claims that are not JSON',
    ['token', '--sub', 'a', '--claims', '{"key": hunter2}'],
    { JWT_SECRET: secret },
    /^--claims is not JSON: look at line 1, column 9$/m,
  ],
  [
    'claims that are none',
    ['token', '--sub', 'a', '--claims', '1'],
    { JWT_SECRET: secret },
    /--claims: expected a JSON/,
  ],
] as const) {
  test.serial(`refuses ${mistake} with exit code 2`, async (t) => {
    const { code, errors } = await finished(run(t, [...args], env))
    t.is(code, 2)
    t.regex(errors, words)
  })
}
