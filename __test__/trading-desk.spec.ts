// Verifies that the trading desk does its job on real prices, seen through the page in a real browser.
import test from 'ava'
import { WebSocket } from 'ws'
import { type Service, startService } from '../examples/trading-desk/service.js'
import { within } from './harness/arrivals.js'
import {
  account,
  BRISK,
  inBrowser,
  launchBrowser,
  link,
  moves,
  open,
  order,
  position,
  signIn,
  startDesk,
  tradesShown,
  user,
} from './harness/desk.js'

launchBrowser()

// One desk for all: each test has users of its own.
let desk: Service

test.before(async () => {
  desk = await startService({ ...BRISK, DESK_DATA: '' })
})
test.after.always(() => desk?.stop())

inBrowser('shows the desk only to who has signed in, and then prices that move', async (t) => {
  t.is((await fetch(`${desk.url}/api/state`)).status, 401)
  t.is((await fetch(`${desk.url}/api/session`)).status, 401)

  const page = await signIn(await user(t), desk, 'amy')
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
  await page.locator('#watch [data-key=AAPL] path[d^=M]').waitFor({ state: 'attached' })
})

inBrowser('does not connect before somebody has signed in, and complains of nothing', async (t) => {
  const page = await (await user(t)).newPage()
  let sockets = 0
  page.on('websocket', () => {
    sockets += 1
  })
  await page.goto(desk.url)
  await page.getByRole('button', { name: 'Open the desk' }).waitFor()
  t.is(await page.locator('#toasts p').count(), 0)
  t.is(sockets, 0)
})

inBrowser('finds a symbol by its name, shows its chart, and shows it again after a reload', async (t) => {
  const page = await signIn(await user(t), desk, 'bob')
  await page.keyboard.press('/')
  await page.keyboard.type('micro')
  await page.locator('#watch label:visible').nth(1).waitFor({ state: 'detached' })
  t.is(await page.locator('#watch label:visible').count(), 1)
  await page.keyboard.press('Enter')
  await page.locator('#chart').getByText('MSFT').waitFor()

  await page.reload()
  await link(page, 'Connected')
  await page.locator('#chart').getByText('MSFT').waitFor()
  await page.getByLabel('Search the symbols').fill('nothing like it')
  await page.getByText('No symbol matches.').waitFor()
})

inBrowser('fills an order at the next price of its symbol and opens, changes and closes the position', async (t) => {
  const page = await signIn(await user(t), desk, 'cat')
  await order(page, 'IBM', 100, 'Buy')
  await page.locator('#orders [data-status=filled]').waitFor()
  await position(page, 'IBM', '100')
  await order(page, 'IBM', 40, 'Sell')
  await position(page, 'IBM', '60')
  await order(page, 'IBM', 60, 'Sell')
  await page.locator('#positions [data-key=IBM]').waitFor({ state: 'detached' })
  t.is((await tradesShown(page)).length, 3)
})

inBrowser('fills a large order in parts, each of them a trade, and leaves it where it is when cancelled', async (t) => {
  const page = await signIn(await user(t), desk, 'dan')
  await order(page, 'IBM', 300, 'Buy')
  const line = page.locator('#orders tr').first()
  // On the way there it is working and partly filled, each for no longer than a busy page may take to look.
  await page.locator('#orders tr[data-status=filled]').waitFor()
  t.is(await line.locator('[data-field=filled]').textContent(), '300')
  await page.locator('#book').getByText('None is open.').waitFor()

  const dan = await account(desk, 'dan')
  const trades: { tradeId: number; quantity: number }[] = await dan.get('trades')
  t.true(trades.length > 1)
  t.is(
    trades.reduce((sum, { quantity }) => sum + quantity, 0),
    300,
  )
  t.deepEqual(
    await tradesShown(page),
    trades.map(({ tradeId }) => tradeId),
  )

  await order(page, 'MSFT', 2_500, 'Buy')
  await page.locator('#bids li[data-status=partial]').waitFor()
  await page.locator('#bids').getByRole('button', { name: 'Cancel' }).click()
  await page.locator('#orders tr[data-status=cancelled]').waitFor()
  const filled = await line.locator('[data-field=filled]').textContent()
  await position(page, 'MSFT', String(filled))
})

inBrowser('lists the own open orders as a book around the last price, and cancels from there', async (t) => {
  const page = await signIn(await user(t), desk, 'eve')
  await order(page, 'MSFT', 100, 'Buy')
  await position(page, 'MSFT', '100')
  for (const limit of [1, 3, 2]) await order(page, 'MSFT', 5, 'Buy', limit)
  for (const limit of [700, 900, 800]) await order(page, 'MSFT', 5, 'Sell', limit)
  await page.locator('#book li').nth(5).waitFor()
  const limits = () => page.locator('#book li [data-field=limit]').allTextContents()
  t.deepEqual(await limits(), ['900.00', '800.00', '700.00', '3.00', '2.00', '1.00'])

  await page.locator('#bids li').first().getByRole('button').click()
  await page.locator('#book li').nth(5).waitFor({ state: 'detached' })
  t.deepEqual(await limits(), ['900.00', '800.00', '700.00', '2.00', '1.00'])
  t.is(await page.locator('#orders tr[data-status=cancelled]').count(), 1)

  // A limit that the price meets already fills at the price and not at the limit.
  await order(page, 'MSFT', 5, 'Buy', 999)
  await position(page, 'MSFT', '105')
  const eve = await account(desk, 'eve')
  const [, { price }] = await eve.get('trades')
  t.true(price < 900)
})

inBrowser('shows orders to each tab of their user and to nobody else', async (t) => {
  const [fay, gus] = [await user(t), await user(t)]
  const first = await signIn(fay, desk, 'fay')
  const second = await open(fay, desk)
  const other = await signIn(gus, desk, 'gus')

  await order(first, 'MSFT', 7, 'Buy')
  await position(second, 'MSFT', '7')
  await order(second, 'AAPL', 3, 'Buy')
  await position(first, 'AAPL', '3')

  // Whatever had been sent to gus by mistake would have come before his own fill.
  await order(other, 'IBM', 5, 'Buy')
  await position(other, 'IBM', '5')
  t.is(await other.locator('#orders tr').count(), 1)
  t.is((await tradesShown(other)).length, 1)
  t.is(await first.locator('#orders tr').count(), 2)
  t.is(await second.locator('#orders tr').count(), 2)
})

inBrowser('says why an order is refused', async (t) => {
  const page = await signIn(await user(t), desk, 'hal')
  await order(page, 'SP500', 10_000, 'Buy')
  await page.getByText('Your free cash does not cover this order.').waitFor()
  await order(page, 'AAPL', 1, 'Sell')
  await page.getByText('You have 0 AAPL to sell.').waitFor()
  t.is(await page.locator('#orders tr').count(), 0)
})

inBrowser('follows the colours of the system until others are chosen, and remembers those', async (t) => {
  const context = await user(t)
  const page = await signIn(context, desk, 'ida')
  const scheme = () => page.evaluate<string>('getComputedStyle(document.body).backgroundColor')
  await page.emulateMedia({ colorScheme: 'dark' })
  const dark = await scheme()
  await page.emulateMedia({ colorScheme: 'light' })
  const light = await scheme()
  t.not(dark, light)

  await page.locator('#theme').getByText('Dark').click()
  t.is(await scheme(), dark)
  await page.reload()
  await link(page, 'Connected')
  t.is(await scheme(), dark)
  t.true(await page.getByLabel('Dark').isChecked())

  await page.locator('#theme').getByText('Auto').click()
  t.is(await scheme(), light)
  await page.emulateMedia({ colorScheme: 'dark' })
  t.is(await scheme(), dark)
})

inBrowser('says that the rows are at their end and plays them again', async (t) => {
  // The last month takes five seconds: enough to sign in before the end.
  const ending = await startDesk(t, { DESK_ROWS_PER_SECOND: '5', DESK_FROM: '2010-02' })
  const page = await signIn(await user(t), ending, 'anna')
  await page.getByText('They start again on 2000-01-01.').waitFor()
  await page.locator('header [data-field=date]').filter({ hasText: '2000-01' }).waitFor()
  t.pass()
})

test.serial('lets a terminal client watch with a token', async (t) => {
  const kim = await account(desk, 'kim')
  t.regex(kim.setCookie, /HttpOnly; SameSite=Lax/)
  const client = new WebSocket(`${desk.url.replace('http', 'ws')}/wse`, {
    headers: { authorization: `Bearer ${await kim.token()}` },
  })
  t.teardown(() => client.terminate())
  const filled = new Promise<Record<string, unknown>>((resolve) => {
    client.on('message', (data) => {
      const envelope = JSON.parse(String(data))
      if (envelope.t === 'order_filled') resolve(envelope)
      if (envelope.t === 'desk_ready') void kim.place({ symbol: 'IBM', side: 'buy', quantity: 2 })
    })
  })
  const { v, original_event_type, p } = await within(filled, 'the fill of an order')
  t.is(v, 2)
  t.is(original_event_type, 'OrderFilled')
  t.like(p, { symbol: 'IBM', side: 'buy', quantity: 2, filled: 2, status: 'filled', trade: { quantity: 2 } })
})
