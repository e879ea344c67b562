// Verifies that the page of the trading desk says when it is cut off, comes back by itself, and then shows each trade
// and each price once: what came before, what was missed meanwhile, what follows.
import test from 'ava'
import type { Page } from 'playwright-core'
import { DEADLINE_MS } from './harness/arrivals.js'
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
  type RunningDesk,
  restartDesk,
  STILL,
  signIn,
  startDesk,
  temporaryFolder,
  tradesShown,
  user,
} from './harness/desk.js'

launchBrowser()

inBrowser('comes back after restarts and a crash with every trade and every price once', async (t) => {
  const desk = await startDesk(t, { ...BRISK, DESK_DATA: temporaryFolder(t) })
  const page = await signIn(await user(t), desk, 'anna')
  await order(page, 'SP500', 30, 'Buy')
  await position(page, 'SP500', '30')
  // These two go on being filled after the restart, before and after the page is there again.
  const anna = await account(desk, 'anna')
  await anna.place({ symbol: 'SP500', side: 'sell', quantity: 30, limitPrice: 1 })
  await anna.place({ symbol: 'IBM', side: 'buy', quantity: 350 })
  // Looked for from before the stop: a desk that takes its time to end would let the second attempt pass unseen.
  const second = page.locator('#banner').filter({ hasText: 'Reconnecting, attempt 2.' })
  const [code] = await Promise.all([desk.stop('SIGTERM'), second.waitFor()])
  t.is(code, 0)
  t.true(await page.getByRole('button', { name: 'Buy', exact: true }).isDisabled())

  const again = await restartDesk(t, desk, BRISK)
  await page.getByText('Connected again. Caught up with').waitFor()
  await page.locator('#banner').waitFor({ state: 'hidden' })
  await position(page, 'IBM', '350')
  await page.locator('#positions [data-key=SP500]').waitFor({ state: 'detached' })
  await moves(page, '#watch [data-key=SP500] [data-field=price]')

  // A desk on which nothing moves holds still for the comparison.
  t.is(await again.stop('SIGKILL'), null)
  await link(page, 'Reconnecting')
  const still = await restartDesk(t, desk, STILL)
  await link(page, 'Connected')
  const prices: unknown[] = await (await account(still, 'anna')).get('prices/SP500')
  t.is(await pointsDrawn(page, prices.length), prices.length)
  const ledger: { tradeId: number; quantity: number; side: string }[] = await (await account(still, 'anna')).get(
    'trades',
  )
  t.deepEqual(
    await tradesShown(page),
    ledger.map(({ tradeId }) => tradeId),
  )
  const bought = ledger.filter(({ side }) => side === 'buy').reduce((sum, { quantity }) => sum + quantity, 0)
  t.is(bought, 380)
})

inBrowser('says that it is offline, and then fetches the trades and prices that it missed', async (t) => {
  const desk = await startDesk(t, BRISK)
  const context = await user(t)
  const page = await signIn(context, desk, 'anna')
  const anna = await account(desk, 'anna')
  await order(page, 'SP500', 5, 'Buy')
  await position(page, 'SP500', '5')

  await context.setOffline(true)
  await page.locator('#banner').filter({ hasText: 'You are offline.' }).waitFor()
  await link(page, 'Offline')
  await anna.place({ symbol: 'SP500', side: 'buy', quantity: 40 })
  const other = await open(await signedInLike(t, desk), desk)
  await position(other, 'SP500', '45')

  await context.setOffline(false)
  await page.getByText(/Connected again. Caught up with [1-9]\d* prices and [1-9] trades./).waitFor()
  await position(page, 'SP500', '45')
  await order(page, 'SP500', 5, 'Sell')
  await position(page, 'SP500', '40')
  const ledger: { tradeId: number }[] = await anna.get('trades')
  t.deepEqual(
    await tradesShown(page),
    ledger.map(({ tradeId }) => tradeId),
  )
})

inBrowser('has no hole in its prices when news arrive before the desk is ready for the page', async (t) => {
  const desk = await startDesk(t, { ...BRISK, DESK_DATA: temporaryFolder(t) })
  const context = await signedInLike(t, desk)
  let connections = 0
  await context.routeWebSocket('**/wse', (socket) => {
    connections += 1
    const number = connections
    let ready: string | Buffer | undefined
    let news = 0
    socket.connectToServer().onMessage((message) => {
      const type = JSON.parse(String(message)).t
      if (type === 'market_data_update') news += 1
      if (number === 2 && type === 'desk_ready') ready = message
      else socket.send(message)
      if (news < 40) return
      // The first connection is lost when it has shown something; the second one is ready late.
      if (number === 1) void socket.close({ code: 4000 })
      else if (ready) socket.send(ready)
      ready = undefined
    })
  })
  const page = await open(context, { ...desk, url: `${desk.url}/#SP500` })
  await page.getByText('Connected again. Caught up with').waitFor()
  await desk.stop('SIGKILL')
  await link(page, 'Reconnecting')
  const still = await restartDesk(t, desk, STILL)
  await link(page, 'Connected')
  const prices: unknown[] = await (await account(still, 'anna')).get('prices/SP500')
  t.is(await pointsDrawn(page, prices.length), prices.length)
})

inBrowser('keeps orders, trades and who is signed in over a restart, and cancels what was left open', async (t) => {
  const desk = await startDesk(t, { ...STILL, DESK_DATA: temporaryFolder(t) })
  const context = await user(t)
  const page = await signIn(context, desk, 'anna')
  await order(page, 'AAPL', 1, 'Buy')
  await page.locator('#orders [data-status=working]').waitFor()
  await desk.stop()
  await link(page, 'Reconnecting')
  await restartDesk(t, desk, STILL)

  const later = await open(context, desk)
  await later.locator('#orders').getByRole('button', { name: 'Cancel' }).click()
  await later.locator('#orders [data-status=cancelled]').waitFor()
  await page.locator('#orders [data-status=cancelled]').waitFor()
  t.is(await (await account(desk, 'anna')).cancel(1), 422)
})

inBrowser('asks to sign in again when a desk in memory was started again', async (t) => {
  const desk = await startDesk(t, STILL)
  const page = await signIn(await user(t), desk, 'anna')
  await desk.stop()
  await link(page, 'Reconnecting')
  await restartDesk(t, desk, STILL)
  await page.getByRole('button', { name: 'Open the desk' }).waitFor()
  t.is(await page.locator('#toasts p').count(), 0)
})

test.serial('hands out the trades of a user in pages, each once and in order', async (t) => {
  const desk = await startDesk(t, { DESK_ROWS_PER_SECOND: '200', DESK_FROM: '2003' })
  const anna = await account(desk, 'anna')
  await anna.place({ symbol: 'SP500', side: 'buy', quantity: 40 })
  await anna.place({ symbol: 'SP500', side: 'buy', quantity: 40 })
  let trades: { tradeId: number; quantity: number }[] = []
  while (trades.reduce((sum, { quantity }) => sum + quantity, 0) < 80) trades = await anna.get('trades')
  const numbers = trades.map(({ tradeId }) => tradeId)
  t.deepEqual(
    numbers,
    [...new Set(numbers)].sort((a, b) => a - b),
  )
  const middle = numbers[3] as number
  const before: typeof trades = await anna.get(`trades?before=${middle}`)
  const after: typeof trades = await anna.get(`trades?after=${middle}`)
  t.deepEqual([...before, trades[3], ...after], trades)
  t.deepEqual(await (await account(desk, 'ben')).get('trades'), [])
})

/** Another browser of the same user, for what happens while the first one is away. */
async function signedInLike(t: Parameters<typeof user>[0], desk: RunningDesk) {
  const context = await user(t)
  await context.request.post(`${desk.url}/login`, { form: { name: 'anna' } })
  return context
}

/** How many points the chart has, asked again until it is `expected` or the deadline has passed. */
async function pointsDrawn(page: Page, expected: number): Promise<number> {
  const points = () => page.evaluate<number>(`document.getElementById('line').getAttribute('d').split('L').length`)
  const deadline = Date.now() + DEADLINE_MS
  while ((await points()) !== expected && Date.now() < deadline) await page.evaluate(NEXT_FRAME)
  return points()
}

const NEXT_FRAME = 'new Promise(requestAnimationFrame)'
