/**
 * Takes the pictures of the documentation: two users at the desk, by day and by night, on a phone, signing in, and
 * while the server is away.
 *
 * Run with `tsx examples/trading-desk/screenshot.ts [folder]`; the default folder is `docs/assets`.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { launchChromium } from './chromium.js'
import { startService } from './service.js'

const folder = process.argv[2] ?? fileURLToPath(new URL('../../docs/assets', import.meta.url))
const service = await startService({ DESK_DATA: '', DESK_FROM: '2006-12', DESK_ROWS_PER_SECOND: '10' })
const browser = await launchChromium()
mkdirSync(folder, { recursive: true })
try {
  const ben = await signIn(browser, 'ben', { colorScheme: 'light' })
  await trade(ben, 'AMZN', 300)
  await trade(ben, 'SP500', 20)
  await ben.getByRole('tab', { name: 'Trades' }).click()

  const anna = await signIn(browser, 'anna', { colorScheme: 'dark' })
  await trade(anna, 'GOOG', 20)
  await trade(anna, 'IBM', 60)
  await trade(anna, 'AAPL', 150)
  await limit(anna, 'AAPL', 60, 'Sell', 1.6)
  await limit(anna, 'AAPL', 70, 'Sell', 1.35)
  await limit(anna, 'AAPL', 80, 'Buy', 0.8)
  await limit(anna, 'AAPL', 40, 'Buy', 0.75)
  await limit(ben, 'SP500', 10, 'Sell', 1.1)
  await limit(ben, 'SP500', 12, 'Buy', 0.8)

  await order(anna, 'AAPL', 160, 'Buy')
  await anna.locator('#bids [data-status=partial]').waitFor()
  await take(anna, 'trading-desk')
  await take(ben, 'trading-desk-light')
  const phone = await signIn(browser, 'anna', { colorScheme: 'dark', viewport: { width: 390, height: 844 } })
  await take(phone, 'trading-desk-phone')
  const context = await browser.newContext({ colorScheme: 'dark', viewport: { width: 900, height: 620 } })
  const login = await context.newPage()
  await login.goto(service.url)
  await login.getByRole('button', { name: 'Open the desk' }).waitFor()
  await take(login, 'trading-desk-login')

  await service.stop()
  await anna.locator('#toasts p').last().waitFor({ state: 'detached' })
  await anna
    .locator('#banner')
    .filter({ hasText: /attempt \d/ })
    .filter({ hasText: 'Next try' })
    .waitFor()
  await take(anna, 'trading-desk-reconnecting')
} finally {
  await browser.close()
  await service.stop()
}

async function signIn(browser: Browser, name: string, options: BrowserContextOptions): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options })
  const page = await context.newPage()
  await page.goto(service.url)
  await page.getByLabel('Your name').fill(name)
  await page.getByRole('button', { name: 'Open the desk' }).click()
  await page.locator('[data-field=latency]').filter({ hasText: /\d/ }).waitFor()
  return page
}

async function order(page: Page, symbol: string, quantity: number, side: 'Buy' | 'Sell'): Promise<void> {
  await page.bringToFront()
  await page.locator(`#watch label[data-key=${symbol}]`).click()
  await page.locator('#ticket').getByText('Market').click()
  await page.getByLabel('Quantity').fill(String(quantity))
  await page.getByRole('button', { name: side, exact: true }).click()
}

/** Buys at the next prices and waits for the last fill. */
async function trade(page: Page, symbol: string, quantity: number): Promise<void> {
  const filled = page.locator('#orders tr[data-status=filled]')
  const before = await filled.count()
  await order(page, symbol, quantity, 'Buy')
  await filled.nth(before).waitFor()
}

/** Places a limit order at `factor` times the last price, rounded to halves. */
async function limit(
  page: Page,
  symbol: string,
  quantity: number,
  side: 'Buy' | 'Sell',
  factor: number,
): Promise<void> {
  await page.bringToFront()
  await page.locator(`#watch label[data-key=${symbol}]`).click()
  await page.locator('#ticket').getByText('Limit', { exact: true }).click()
  const lastPrice = Number((await page.locator('#book [data-field=price]').textContent())?.replaceAll(',', ''))
  await page.getByLabel('Limit price').fill(String(Math.round(lastPrice * factor * 2) / 2))
  await page.getByLabel('Quantity').fill(String(quantity))
  const open = page.locator('#book li')
  const before = await open.count()
  await page.getByRole('button', { name: side, exact: true }).click()
  await open.nth(before).waitFor()
  await page.locator('#toasts p').last().waitFor({ state: 'detached' })
}

async function take(page: Page, name: string): Promise<void> {
  await page.bringToFront()
  await page.screenshot({ path: join(folder, `${name}.png`) })
}
