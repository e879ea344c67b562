// The example for recovery: its page keeps what it has, over cuts, a reload and a new server.
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { WebSocket } from 'ws'
import { hasChromium, launchChromium } from '../examples/trading-desk/chromium.js'
import { until } from './harness/arrivals.js'
import { runFile } from './harness/child.js'
import { type Relay, startRelay } from './harness/relay.js'

// Without Chromium the test of a page is skipped and listed as such.
const inBrowser = hasChromium() ? test : test.skip
const example = fileURLToPath(new URL('../examples/recovery/', import.meta.url))

/** The example's server, behind a wire. */
async function start(t: ExecutionContext) {
  const server = await run(t)
  const relay = await startRelay(t, server)
  return { server, relay, publish: (texts: string[]) => publish(server, texts) }
}

async function run(t: ExecutionContext): Promise<{ port: number }> {
  const child = runFile(t, `${example}server.ts`, { PORT: '0' })
  return { port: Number(new URL(await child.nextLine()).port) }
}

interface Published {
  epoch: string
  offset: number
}

/** Posts news, each under its own text; past the wire, so that it may be cut. */
async function publish({ port }: { port: number }, texts: string[]): Promise<Published[]> {
  const positions: Published[] = []
  for (const text of texts) {
    const body = JSON.stringify({ id: text, text })
    const answer = await fetch(`http://127.0.0.1:${port}/news`, { method: 'POST', body })
    positions.push((await answer.json()) as Published)
  }
  return positions
}

/** What a tab keeps while its page is reloaded. */
function tab() {
  const kept = new Map<string, string>()
  return {
    getItem: (name: string) => kept.get(name) ?? null,
    setItem: (name: string, text: string) => void kept.set(name, text),
  }
}

const sockets = new Set<WebSocket>()
let isOver = false

test.after.always('ends the pages, which would come back for ever', () => {
  isOver = true
  for (const socket of sockets) socket.terminate()
})

/** A socket as a browser makes it, which tells of an error by its end alone. */
function PageSocket(url: string): object {
  if (isOver) return {}
  const socket = new WebSocket(url)
  socket.on('error', () => {})
  sockets.add(socket)
  return socket
}

/** Loads the page: what it shows, always by now. */
async function load({ port }: Relay, storage: ReturnType<typeof tab>): Promise<{ texts: string[] }> {
  Object.assign(globalThis, { WebSocket: PageSocket })
  const { follow } = await import(`${example}public/follow.js`)
  const page: { texts: string[] } = { texts: [] }
  const show = (items: { text: string }[]) => {
    page.texts = items.map(({ text }) => text)
  }
  follow(`ws://127.0.0.1:${port}/wse`, 'news', storage, show)
  return page
}

const shows = (page: { texts: string[] }, ...texts: string[]) =>
  until(`the news ${texts}`, () => page.texts.join() === texts.join())

test('shows a late joiner what was published last, and misses nothing when it is cut', async (t) => {
  const { relay, publish } = await start(t)
  await publish(['one', 'two'])
  const page = await load(relay, tab())
  await shows(page, 'one', 'two')
  relay.cut()
  await publish(['three', 'four'])
  await shows(page, 'one', 'two', 'three', 'four')
  await publish(['five'])
  await shows(page, 'one', 'two', 'three', 'four', 'five')
  t.pass()
})

test('begins anew at a server that does not know its position', async (t) => {
  const { relay, publish: before } = await start(t)
  await before(['one', 'two'])
  const storage = tab()
  const page = await load(relay, storage)
  await shows(page, 'one', 'two')
  const next = await run(t)
  await publish(next, ['three'])
  relay.layTo(next)
  relay.cut()
  await shows(page, 'three')
  t.is(JSON.parse(storage.getItem('news') ?? '').position.offset, 1)
})

test('publishes once what is posted twice', async (t) => {
  const { relay, publish } = await start(t)
  const page = await load(relay, tab())
  const [first, second, third] = await publish(['one', 'one', 'two'])
  await shows(page, 'one', 'two')
  t.is(first?.offset, 1)
  t.deepEqual(second, first)
  t.deepEqual(third, { ...first, offset: 2 } as Published)
})

inBrowser('keeps its place while it is reloaded, in a browser', async (t) => {
  const { relay, publish } = await start(t)
  const browser = await launchChromium()
  t.teardown(() => browser.close())
  const page = await browser.newPage()
  const item = (text: string) => page.locator(`li:text-is("${text}")`)
  await page.goto(`http://127.0.0.1:${relay.port}/`)
  await page.fill('[name=text]', 'one')
  await page.click('text=Publish')
  await item('one').waitFor()
  await page.goto('about:blank')
  await publish(['two', 'three'])
  await page.goto(`http://127.0.0.1:${relay.port}/`)
  await item('three').waitFor()
  relay.cut()
  await publish(['four'])
  await item('four').waitFor()
  t.deepEqual(await page.locator('li').allTextContents(), ['one', 'two', 'three', 'four'])
})
