// Verifies that the trading desk does its job on real prices, seen through the page in a real browser.
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { WebSocket } from 'ws'
import { hasChromium, launchChromium } from '../examples/trading-desk/chromium.js'
import { EventLog } from '../examples/trading-desk/event-log.js'
import { Feed, readRows } from '../examples/trading-desk/feed.js'
import { type Service, startService } from '../examples/trading-desk/service.js'
import { DEADLINE_MS, within } from './harness/arrivals.js'

/** So slow that nothing moves during a test. */
const STILL = { DESK_ROWS_PER_SECOND: '0.001', DESK_FROM: '2006' }
const BRISK = { DESK_ROWS_PER_SECOND: '50', DESK_FROM: '2003' }

// Without Chromium the tests of the page are skipped and listed as such.
const inBrowser = hasChromium() ? test.serial : test.serial.skip
let browser: Browser

test.before(async () => {
  if (hasChromium()) browser = await launchChromium()
})
test.after.always(() => browser?.close())

const pageFaults: string[] = []
test.serial.afterEach('the script of the page has failed nowhere', (t) => {
  t.deepEqual(pageFaults.splice(0), [])
})

inBrowser('shows the desk only to who has signed in, and then prices that move', async (t) => {
  const desk = await startDesk(t, BRISK)
  t.is((await fetch(`${desk.url}/api/state`)).status, 401)

  const page = await signIn(await user(t), desk, 'anna')
  await moves(page, '#watch [data-key=SP500] [data-field=price]')
  await moves(page, '#watch [data-key=AAPL] [data-field=price]')
  await moves(page, 'header [data-field=date]')
  await page
    .locator('[data-field=latency]')
    .filter({ hasText: /^\d+\.\d\d$/ })
    .waitFor()
  await page
    .locator('[data-field=rate]')
    .filter({ hasText: /^[1-9]\d*$/ })
    .waitFor()
  await page.locator('#line[d^=M]').waitFor({ state: 'attached' })
  t.pass()
})

inBrowser('fills an order at the next price of its symbol and opens, changes and closes the position', async (t) => {
  const desk = await startDesk(t, BRISK)
  const page = await signIn(await user(t), desk, 'anna')

  await order(page, 'IBM', 100, 'Buy')
  await page.locator('#orders [data-status=filled]').waitFor()
  await position(page, 'IBM', '100')
  await order(page, 'IBM', 40, 'Sell')
  await position(page, 'IBM', '60')
  await order(page, 'IBM', 60, 'Sell')
  await page.locator('#positions [data-key=IBM]').waitFor({ state: 'hidden' })

  const types = logged(desk).map(({ type }) => type)
  const cycle = (change: string) => ['OrderPlaced', 'OrderFilled', change]
  t.deepEqual(types, [...cycle('PositionOpened'), ...cycle('PositionChanged'), ...cycle('PositionClosed')])
  for (const { price, priceDate } of logged(desk).filter(({ type }) => type === 'OrderFilled')) {
    t.true(readRows().some((row) => row.symbol === 'IBM' && row.date === priceDate && row.price === price))
  }
})

inBrowser('shows orders to each tab of their user and to nobody else', async (t) => {
  const desk = await startDesk(t, BRISK)
  const [anna, ben] = [await user(t), await user(t)]
  const first = await signIn(anna, desk, 'anna')
  const second = await open(anna, desk)
  const other = await signIn(ben, desk, 'ben')

  await order(first, 'MSFT', 7, 'Buy')
  await position(second, 'MSFT', '7')
  await order(second, 'AAPL', 3, 'Buy')
  await position(first, 'AAPL', '3')

  // Whatever had been sent to ben by mistake would have come before his own fill.
  await order(other, 'AMZN', 5, 'Buy')
  await position(other, 'AMZN', '5')
  t.is(await other.locator('#orders tr').count(), 1)
  t.is(await first.locator('#orders tr').count(), 2)
  t.is(await second.locator('#orders tr').count(), 2)
})

for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
  inBrowser(`comes back by itself, with its state, after a restart by ${signal}`, async (t) => {
    const desk = await startDesk(t, BRISK)
    const page = await signIn(await user(t), desk, 'anna')
    await order(page, 'IBM', 10, 'Buy')
    await position(page, 'IBM', '10')
    const cash = await page.locator('[data-field=cash]').textContent()

    const code = await desk.stop(signal)
    await link(page, 'Reconnecting')
    t.is(code, signal === 'SIGTERM' ? 0 : null)

    await startDesk(t, { ...BRISK, PORT: String(desk.port), DESK_DATA: desk.data })
    await link(page, 'Live')
    await position(page, 'IBM', '10')
    t.is(await page.locator('[data-field=cash]').textContent(), cash)
    await moves(page, '#watch [data-key=SP500] [data-field=price]')
    await order(page, 'IBM', 5, 'Buy')
    await position(page, 'IBM', '15')
  })
}

inBrowser('cancels an order that is still open, and leaves it open over a restart', async (t) => {
  const desk = await startDesk(t, STILL)
  const page = await signIn(await user(t), desk, 'anna')
  await order(page, 'GOOG', 1, 'Buy')
  await page.locator('#orders [data-status=open]').waitFor()

  await desk.stop()
  await link(page, 'Reconnecting')
  await startDesk(t, { ...STILL, PORT: String(desk.port), DESK_DATA: desk.data })
  await link(page, 'Live')
  await page.locator('#orders [data-status=open]').getByRole('button', { name: 'Cancel' }).click()
  await page.locator('#orders [data-status=cancelled]').waitFor()
  t.is(logged(desk).at(-1)?.type, 'OrderCancelled')
})

inBrowser('says why an order is refused', async (t) => {
  const desk = await startDesk(t, STILL)
  const page = await signIn(await user(t), desk, 'anna')
  await order(page, 'GOOG', 10_000, 'Buy')
  await page.getByText('Your cash does not cover this order.').waitFor()
  await order(page, 'AAPL', 1, 'Sell')
  await page.getByText('You have 0 AAPL to sell.').waitFor()
  t.is(await page.locator('#orders tr').count(), 0)
})

inBrowser('says that the rows are at their end and plays them again', async (t) => {
  // The last two months take ten seconds: enough to sign in before the end.
  const desk = await startDesk(t, { DESK_ROWS_PER_SECOND: '5', DESK_FROM: '2010-01' })
  const page = await signIn(await user(t), desk, 'anna')
  await page.getByText('They start again on 2000-01-01.').waitFor()
  await page.locator('header [data-field=date]').filter({ hasText: '2000-01' }).waitFor()
  t.pass()
})

test.serial('lets a terminal client watch with a token', async (t) => {
  const desk = await startDesk(t, BRISK)
  const form = new URLSearchParams({ name: 'anna' })
  const login = await fetch(`${desk.url}/login`, { method: 'POST', body: form, redirect: 'manual' })
  const cookie = login.headers.getSetCookie()[0] ?? ''
  t.regex(cookie, /HttpOnly; SameSite=Lax/)
  const headers = { cookie: cookie.split(';')[0] as string, 'content-type': 'application/json' }
  const token = await (await fetch(`${desk.url}/api/token`, { headers })).text()

  const client = new WebSocket(`${desk.url.replace('http', 'ws')}/wse`, {
    headers: { authorization: `Bearer ${token}` },
  })
  t.teardown(() => client.terminate())
  const filled = new Promise<Record<string, unknown>>((resolve) => {
    client.on('message', (data) => {
      const envelope = JSON.parse(String(data))
      if (envelope.t === 'order_filled') resolve(envelope)
      if (envelope.t !== 'desk_ready') return
      const body = JSON.stringify({ symbol: 'IBM', side: 'buy', quantity: 2 })
      void fetch(`${desk.url}/api/orders`, { method: 'POST', headers, body })
    })
  })
  const { v, original_event_type, p } = await within(filled, 'the fill of an order')
  t.is(v, 2)
  t.is(original_event_type, 'OrderFilled')
  t.like(p, { symbol: 'IBM', side: 'buy', quantity: 2, status: 'filled' })
})

test('plays every row of both files up to their last common date, unchanged and in the order of their dates', (t) => {
  const rows = readRows()
  const files = new URL('../data/', import.meta.resolve('vega-datasets'))
  const stocks = readFileSync(new URL('stocks.csv', files), 'utf8').trim().split('\n').slice(1)
  const index = readFileSync(new URL('sp500-2000.csv', files), 'utf8').trim().split('\n').slice(1)
  const common = index.filter((line) => line < '2010-03-02')
  t.is(rows.length, stocks.length + common.length)
  t.deepEqual(
    rows,
    [...rows].sort((a, b) => a.date.localeCompare(b.date)),
  )

  const played = (symbol: string) => rows.filter((row) => row.symbol === symbol).map(({ price }) => price)
  t.deepEqual(
    played('AAPL'),
    stocks.filter((line) => line.startsWith('AAPL')).map((line) => Number(line.split(',')[2])),
  )
  t.deepEqual(
    played('SP500'),
    common.map((line) => Number(line.split(',')[4])),
  )
})

test('goes on where the wall clock has the market', (t) => {
  const [before, feed, after] = [Date.now(), new Feed({ rowsPerSecond: 1 }), Date.now()]
  t.true(feed.row >= Math.floor(before / 1000) && feed.row <= Math.floor(after / 1000))
})

test('cuts off a half-written last line of the event log and goes on behind the last whole one', (t) => {
  const path = join(temporaryFolder(t), 'events.jsonl')
  const event = { type: 'OrderCancelled', userId: 'anna', orderId: '1', reason: 'test' } as const
  const first = new EventLog(path)
  first.append(event, event)
  first.close()
  appendFileSync(path, '[{"type":"OrderCanc')

  const second = new EventLog(path)
  t.is(second.takePast().length, 2)
  second.append(event)
  second.close()
  const third = new EventLog(path)
  t.deepEqual(
    third.takePast().map(({ logSeq }) => logSeq),
    [1, 2, 3],
  )
  third.close()
})

interface Desk extends Service {
  data: string
}

function temporaryFolder(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'trading-desk-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return folder
}

async function startDesk(t: ExecutionContext, environment: Record<string, string>): Promise<Desk> {
  const data = environment.DESK_DATA ?? temporaryFolder(t)
  const service = await startService({ ...environment, DESK_DATA: data })
  t.teardown(() => service.stop())
  return { ...service, data }
}

/** A browser profile of its own: cookies are shared by its tabs and with nobody else. */
async function user(t: ExecutionContext): Promise<BrowserContext> {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } })
  context.setDefaultTimeout(DEADLINE_MS)
  context.on('weberror', (error) => pageFaults.push(String(error.error().stack)))
  t.teardown(() => context.close())
  return context
}

async function open(context: BrowserContext, desk: Desk): Promise<Page> {
  const page = await context.newPage()
  await page.goto(desk.url)
  await link(page, 'Live')
  return page
}

async function signIn(context: BrowserContext, desk: Desk, name: string): Promise<Page> {
  const page = await context.newPage()
  await page.goto(desk.url)
  await page.getByLabel('Your name').fill(name)
  await page.getByRole('button', { name: 'Open the desk' }).click()
  await link(page, 'Live')
  return page
}

async function link(page: Page, state: string): Promise<void> {
  await page.locator('header [data-field=link]').filter({ hasText: state }).waitFor()
}

/** Waits until the text at `selector` is another one. */
async function moves(page: Page, selector: string): Promise<void> {
  const part = page.locator(selector)
  await part.filter({ hasNotText: (await part.textContent()) ?? '' }).waitFor()
}

async function order(page: Page, symbol: string, quantity: number, side: 'Buy' | 'Sell'): Promise<void> {
  await page.bringToFront()
  await page.locator(`#watch [data-key=${symbol}]`).click()
  await page.getByLabel('Quantity').fill(String(quantity))
  await page.getByRole('button', { name: side }).click()
}

async function position(page: Page, symbol: string, quantity: string): Promise<void> {
  await page.bringToFront() // A tab in the background draws nothing.
  await page
    .locator(`#positions [data-key=${symbol}] [data-field=quantity]`)
    .getByText(quantity, { exact: true })
    .waitFor()
}

function logged(desk: Desk): { type: string; price?: number; priceDate?: string }[] {
  const lines = readFileSync(join(desk.data, 'events.jsonl'), 'utf8').trim().split('\n')
  return lines.flatMap((line) => JSON.parse(line))
}
