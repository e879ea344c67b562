// The pages keep what they promise: their code compiles and runs, their commands and files exist.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { get as getPlain } from 'node:http'
import { get as getEncrypted } from 'node:https'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { hasChromium, launchChromium } from '../examples/trading-desk/chromium.js'
import { within } from './harness/arrivals.js'
import { makeCertificate } from './harness/certificates.js'
import { Child } from './harness/child.js'
import { connect } from './harness/connect.js'
import { allPages, type Block } from './harness/pages.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = join(root, '.cache', 'blocks')
const anyPort = new URL('harness/any-port.mjs', import.meta.url).href
const pages = allPages()
const blocks = pages.flatMap((page) => page.blocks)
/** Files of examples/, which have tests of their own. */
const shown = blocks.filter(({ note }) => note.startsWith('examples/'))
const code = blocks.filter((block) => ['ts', 'js'].includes(block.language) && !shown.includes(block))

/** What the note behind a block's language says of it; without one it is a whole program, and is run. */
const notes = {
  '': 'run as they stand',
  cjs: 'run as they stand, as CommonJS',
  fragment: "compiled with their page's context",
  foreign: 'not looked at: they are for another library, which is not installed',
} as const
const programs = code.filter(({ note }) => note === '' || note === 'cjs')

// Without Chromium the test of a page is skipped and listed as such.
const inBrowser = hasChromium() ? test.serial : test.serial.skip

const nameOf = ({ page, line }: Block) => `${page.replaceAll(/[/.]/g, '-')}-${line}`
const extensionOf = ({ language, note }: Block) => (note === 'cjs' ? `c${language}` : language)
const programOf = (block: Block) => join(folder, 'out', `${nameOf(block)}.${extensionOf(block).replace('ts', 'js')}`)

/** Compiled once, for all tests; resolves to what the compiler had to say. */
let complaints = ''

test.before(async () => {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(join(folder, 'tls'), { recursive: true })
  for (const { context, blocks } of pages) {
    for (const block of blocks.filter((block) => code.includes(block) && block.note !== 'foreign')) {
      const source = block.note === 'fragment' ? `${context}\n${block.source}\nexport {}\n` : block.source
      writeFileSync(join(folder, `${nameOf(block)}.${extensionOf(block)}`), source)
    }
  }
  const { key, cert } = await makeCertificate()
  writeFileSync(join(folder, 'tls', 'key.pem'), key)
  writeFileSync(join(folder, 'tls', 'cert.pem'), cert)
  const config = {
    extends: '../../tsconfig.json',
    compilerOptions: { rootDir: '.', outDir: 'out', noEmit: false, allowJs: true },
    include: ['*.ts', '*.cts', '*.js', '*.cjs'],
    exclude: [],
  }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config))
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  complaints = spawnSync(process.execPath, [tsc, '-p', folder], { encoding: 'utf8' }).stdout
})

test('has no block of code that the compiler refuses', (t) => {
  t.is(complaints, '')
})

test('exempts no block of code in silence', (t) => {
  for (const { page, line, note, language } of code) {
    t.true(note in notes, `${page}:${line}: the note "${note}" is none of: ${Object.keys(notes).join(', ')}`)
    t.true(language === 'ts' || note !== 'fragment', `${page}:${line}: a fragment is TypeScript, to be compiled`)
  }
  for (const [note, meaning] of Object.entries(notes)) {
    const such = code.filter((block) => block.note === note)
    const where =
      note === '' || such.length === 0 ? '' : `: ${such.map(({ page, line }) => `${page}:${line}`).join(', ')}`
    t.log(`${such.length} blocks are ${meaning}${where}`)
  }
})

test('shows files of the examples as they stand', (t) => {
  t.true(shown.length > 0)
  for (const { page, line, note, source } of shown) {
    t.is(source, readFileSync(join(root, note), 'utf8'), `${page}:${line} differs from ${note}`)
  }
})

test('names no script of the package that is not there, and no file', (t) => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: object }
  for (const { page, line, source } of blocks.filter(({ language }) => language === 'sh')) {
    const own = source.matchAll(/\bnpm (?:run ([\w:-]+)|(start|test)\b)/g)
    for (const [, script, short] of own)
      t.true((script ?? short ?? '') in scripts, `${page}:${line}: ${script ?? short}`)
    for (const [, file = ''] of source.matchAll(/\bnode ((?:scripts|benchmark|examples)\/\S+)/g)) {
      t.true(existsSync(join(root, file)), `${page}:${line}: ${file}`)
    }
  }
})

test('has no block of JSON that is none', (t) => {
  for (const { page, line, source } of blocks.filter(({ language }) => language === 'json')) {
    t.notThrows(() => JSON.parse(source), `${page}:${line}`)
  }
})

test('has no link in the README to a file that is not there', (t) => {
  const links = readFileSync(join(root, 'README.md'), 'utf8').matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)
  for (const [, path = ''] of links) t.true(existsSync(join(root, path)), path)
})

for (const block of programs) {
  test.serial(`runs the program at ${block.page}:${block.line}`, async (t) => {
    const child = run(t, programOf(block))
    // A program that serves says where; one that only shows something ends by itself.
    const address = await addressOf(child).catch(() => null)
    if (address !== null) {
      t.true((await statusOf(new URL('/wse/health', address))) < 500)
      child.kill('SIGTERM')
    }
    const { code, signal, errors } = await child.exited()
    t.true(code === 0 || (address !== null && signal === 'SIGTERM'), `ended with ${code ?? signal}: ${errors}`)
  })
}

for (const [title, index, isAsked] of [
  ['the first example', 0, false],
  ['the standalone example', 1, true],
] as const) {
  test.serial(`chats with ${title} of the README`, async (t) => {
    const child = run(t, programOf(programs.filter(({ page }) => page === 'README.md')[index] as Block))
    const port = Number((await addressOf(child)).port)
    const token = /eyJ\S+/.exec(await child.nextLine((line) => line.includes('eyJ')))?.[0] ?? ''
    const [one, other] = [await connect(t, { port }, { token }), await connect(t, { port }, { token })]
    if (isAsked) t.like(await other.subscribe(['chat']), { success_topics: ['chat'] })
    one.send({ t: 'chat', p: { text: 'hello' } })
    t.like((await other.next('chat')).p, { text: 'hello' })
  })
}

for (const [title, index] of [
  ['before', 0],
  ['after', 1],
] as const) {
  test.serial(`serves the same clients ${title} the move from ws`, async (t) => {
    const child = run(t, programOf(programs.filter(({ page }) => page.endsWith('/moving/ws.md'))[index] as Block))
    const port = Number((await addressOf(child)).port)
    const enter = async (sid: string) => {
      const options = { path: '/live', headers: { cookie: `sid=${sid}` }, greeted: false }
      const connection = await connect(t, { port }, options)
      connection.send({ join: 'kitchen' })
      return connection
    }
    const [anna, ben] = [await enter('a1'), await enter('b2')]
    // Ben hears it when both his join and hers came before it: what one connection sends stays in order.
    ben.send({ room: 'kitchen', say: 'here' })
    t.is(await ben.nextText(), '{"room":"kitchen","from":"ben","say":"here"}')
    anna.send({ room: 'kitchen', say: 'hello' })
    t.is(await ben.nextText(), '{"room":"kitchen","from":"anna","say":"hello"}')
  })
}

test.serial('publishes the prices of whoever has the key, after the move from uWebSockets.js', async (t) => {
  const child = run(t, programOf(programs.find(({ page }) => page.endsWith('/moving/uwebsockets.md')) as Block))
  const port = Number((await addressOf(child)).port)
  const options = { path: '/prices', greeted: false }
  const [listener, maker] = [
    await connect(t, { port }, options),
    await connect(t, { port }, { ...options, headers: { 'x-api-key': 'the key of the tests' } }),
  ]
  listener.send({ symbol: 'ACME', price: 1 })
  maker.send({ symbol: 'ACME', price: 2 })
  t.is(await maker.nextText(), '{"symbol":"ACME","price":2}')
  t.is(await listener.nextText(), '{"symbol":"ACME","price":2}')
})

test.serial('has rooms as before, after the move from Socket.IO', async (t) => {
  const [, after] = programs.filter(({ page }) => page.endsWith('/moving/socket-io.md'))
  const port = Number((await addressOf(run(t, programOf(after as Block)))).port)
  const [one, other] = [await connect(t, { port }), await connect(t, { port })]
  for (const connection of [one, other]) connection.send({ t: 'enter', p: { room: 'garden' } })
  other.send({ t: 'say', p: { room: 'garden', text: 'here' } })
  t.deepEqual((await other.next('said')).p, { room: 'garden', text: 'here' })
  one.send({ t: 'say', p: { room: 'garden', text: 'hello' } })
  t.deepEqual((await other.next('said')).p, { room: 'garden', text: 'hello' })
})

inBrowser('chats between two tabs after the first steps', async (t) => {
  const project = join(folder, 'first-steps')
  mkdirSync(project)
  const steps = pages.find(({ path }) => path.endsWith('/first-steps.md'))?.blocks ?? []
  for (const { source } of steps.filter(({ language }) => ['js', 'html'].includes(language))) {
    const name = /^(?:\/\/|<!--) (\S+)/.exec(source)?.[1] ?? ''
    writeFileSync(join(project, name), source)
  }
  const address = await addressOf(run(t, join(project, 'server.js')))
  const browser = await launchChromium()
  t.teardown(() => browser.close())
  const enter = async (name: string) => {
    const page = await (await browser.newContext()).newPage()
    await page.goto(address.href)
    await page.fill('[name=name]', name)
    await page.click('text=Join')
    await page.waitForSelector('#state:text("connected")')
    return page
  }
  const [anna, ben] = [await enter('anna'), await enter('ben')]
  await anna.fill('[name=text]', 'hello')
  await anna.click('text=Send')
  for (const page of [anna, ben]) await page.waitForSelector('li:text("anna: hello")')
  t.pass()
})

/** Starts a program of a page where it finds what its readers would have: secrets, and a certificate in `tls/`. */
function run(t: ExecutionContext, path: string): Child {
  const secrets = { JWT_SECRET: 'a secret of the tests, thirty-two bytes and more', MAKER_KEY: 'the key of the tests' }
  const child = new Child(['--import', anyPort, path], { ...secrets, PORT: '0' }, process.execPath, folder)
  t.teardown(() => child.kill())
  return child
}

async function addressOf(child: Child): Promise<URL> {
  return new URL((await child.nextLine((line) => line.startsWith('▸ '))).slice('▸ '.length))
}

/** The status of the answer to a request, whatever the server's certificate. */
function statusOf(url: URL): Promise<number> {
  const answer = new Promise<number>((resolve, reject) => {
    const get = url.protocol === 'https:' ? getEncrypted : getPlain
    const request = get(url, { rejectUnauthorized: false }, (response) => {
      response.resume()
      resolve(response.statusCode ?? 0)
    })
    request.on('error', reject)
  })
  return within(answer, `an answer of ${url}`)
}
