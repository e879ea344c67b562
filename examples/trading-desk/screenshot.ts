/**
 * Takes the pictures of the documentation: two users at the desk, by day and by night, on a phone, signing in.
 *
 * Run with `tsx examples/trading-desk/screenshot.ts [folder]`; the default folder is `docs/assets`.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { launchChromium } from './chromium.js'
import { startService } from './service.js'

const folder = process.argv[2] ?? fileURLToPath(new URL('../../docs/assets', import.meta.url))
const data = mkdtempSync(join(tmpdir(), 'trading-desk-'))
const service = await startService({ DESK_DATA: data, DESK_FROM: '2006-12', DESK_ROWS_PER_SECOND: '15' })
const browser = await launchChromium()
mkdirSync(folder, { recursive: true })
try {
  const anna = await signIn(browser, 'anna', { colorScheme: 'dark' })
  await trade(anna, 'AAPL', 200, 'Buy')
  await trade(anna, 'GOOG', 60, 'Buy')
  await trade(anna, 'IBM', 150, 'Buy')
  await trade(anna, 'IBM', 50, 'Sell')

  const ben = await signIn(browser, 'ben', { colorScheme: 'light' })
  await trade(ben, 'AMZN', 300, 'Buy')
  await trade(ben, 'SP500', 20, 'Buy')

  await choose(anna, 'AAPL')
  await anna.locator('#toasts p').last().waitFor({ state: 'detached' })
  await anna.fill('[name=quantity]', '25')
  await anna.getByRole('button', { name: 'Sell' }).click()
  await anna.locator('#orders tr[data-status=open]').waitFor()
  await take(anna, 'trading-desk')
  await take(ben, 'trading-desk-light')

  const phone = await signIn(browser, 'anna', { colorScheme: 'dark', viewport: { width: 390, height: 844 } })
  await take(phone, 'trading-desk-phone')
  const context = await browser.newContext({ colorScheme: 'dark', viewport: { width: 900, height: 620 } })
  const login = await context.newPage()
  await login.goto(service.url)
  await login.getByRole('button', { name: 'Open the desk' }).waitFor()
  await take(login, 'trading-desk-login')
} finally {
  await browser.close()
  await service.stop()
  rmSync(data, { recursive: true })
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

async function choose(page: Page, symbol: string): Promise<void> {
  await page.locator(`#watch label[data-key=${symbol}]`).click()
}

/** Places an order and waits for its fill. */
async function trade(page: Page, symbol: string, quantity: number, side: 'Buy' | 'Sell'): Promise<void> {
  const filled = page.locator('#orders tr[data-status=filled]')
  const before = await filled.count()
  await choose(page, symbol)
  await page.fill('[name=quantity]', String(quantity))
  await page.getByRole('button', { name: side }).click()
  await filled.nth(before).waitFor()
}

async function take(page: Page, name: string): Promise<void> {
  await page.locator('#toasts p').last().waitFor({ state: 'detached' })
  await page.screenshot({ path: join(folder, `${name}.png`) })
}
