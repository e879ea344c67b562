// The trading desk as a process and in a browser: starting, signing in, and what a person does and sees there.
// Without Chromium the tests of the page are skipped and listed as such.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { hasChromium, launchChromium } from '../../examples/trading-desk/chromium.js'
import { type Service, startService } from '../../examples/trading-desk/service.js'
import { DEADLINE_MS } from './arrivals.js'

/** So slow that nothing moves during a test. */
export const STILL = { DESK_ROWS_PER_SECOND: '0.001', DESK_FROM: '2003' }
/** A price of the index each 50 ms, of a share each second. */
export const BRISK = { DESK_ROWS_PER_SECOND: '25', DESK_FROM: '2003' }

export const inBrowser = hasChromium() ? test.serial : test.serial.skip

let browser: Browser
const pageFaults: string[] = []

/** To be called once by each file of tests that opens pages. */
export function launchBrowser(): void {
  test.before(async () => {
    if (hasChromium()) browser = await launchChromium()
  })
  test.after.always(() => browser?.close())
  test.serial.afterEach.always('the scripts of the page have failed nowhere', (t) => {
    t.deepEqual(pageFaults.splice(0), [])
  })
}

export interface RunningDesk extends Service {
  data: string
}

export function temporaryFolder(t: Pick<ExecutionContext, 'teardown'>): string {
  const folder = mkdtempSync(join(tmpdir(), 'trading-desk-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return folder
}

/** Starts a desk; in memory unless `environment.DESK_DATA` names a folder. */
export async function startDesk(t: ExecutionContext, environment: Record<string, string>): Promise<RunningDesk> {
  const { DESK_DATA = '' } = environment
  const service = await startService({ ...environment, DESK_DATA })
  t.teardown(() => service.stop())
  return { ...service, data: DESK_DATA }
}

/** The same desk again: same port, same folder. */
export function restartDesk(
  t: ExecutionContext,
  desk: RunningDesk,
  pace: Record<string, string>,
): Promise<RunningDesk> {
  return startDesk(t, { ...pace, PORT: String(desk.port), DESK_DATA: desk.data })
}

/** A browser profile of its own: cookies are shared by its tabs and with nobody else. */
export async function user(t: ExecutionContext): Promise<BrowserContext> {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } })
  context.setDefaultTimeout(DEADLINE_MS)
  context.on('weberror', (error) => pageFaults.push(String(error.error().stack)))
  t.teardown(() => context.close())
  return context
}

export async function open(context: BrowserContext, desk: Service): Promise<Page> {
  const page = await context.newPage()
  await page.goto(desk.url)
  await link(page, 'Connected')
  return page
}

export async function signIn(context: BrowserContext, desk: Service, name: string): Promise<Page> {
  const page = await context.newPage()
  await page.goto(desk.url)
  await page.getByLabel('Your name').fill(name)
  await page.getByRole('button', { name: 'Open the desk' }).click()
  await link(page, 'Connected')
  return page
}

export async function link(page: Page, state: string): Promise<void> {
  await page.locator('header [data-field=link]').filter({ hasText: state }).waitFor()
}

/** Waits until the text at `selector` is another one. */
export async function moves(page: Page, selector: string): Promise<void> {
  const part = page.locator(selector)
  await part.filter({ hasNotText: (await part.textContent()) ?? '' }).waitFor()
}

export type Side = 'Buy' | 'Sell'

/** Places an order at the page; without a limit it takes any price. */
export async function order(page: Page, symbol: string, quantity: number, side: Side, limit?: number): Promise<void> {
  await page.bringToFront()
  await page.locator(`#watch [data-key=${symbol}]`).click()
  const kind = limit === undefined ? 'Market' : 'Limit'
  await page.locator('#ticket').getByText(kind, { exact: true }).click()
  if (limit !== undefined) await page.getByLabel('Limit price').fill(String(limit))
  await page.getByLabel('Quantity').fill(String(quantity))
  await page.getByRole('button', { name: side, exact: true }).click()
}

export async function position(page: Page, symbol: string, quantity: string): Promise<void> {
  await page.bringToFront() // A tab in the background draws nothing.
  await page
    .locator(`#positions [data-key=${symbol}] [data-field=quantity]`)
    .getByText(quantity, { exact: true })
    .waitFor()
}

/** The numbers of the trades that the page lists, oldest first. */
export async function tradesShown(page: Page): Promise<number[]> {
  const keys = await page.locator('#trades tr').evaluateAll((rows) => rows.map((row) => row.getAttribute('data-key')))
  return keys.map(Number).reverse()
}

/** The API as a user without a browser asks it. */
export async function account(desk: Service, name: string) {
  const form = new URLSearchParams({ name })
  const login = await fetch(`${desk.url}/login`, { method: 'POST', body: form, redirect: 'manual' })
  const setCookie = login.headers.getSetCookie()[0] ?? ''
  const headers = { cookie: setCookie.split(';')[0] as string, 'content-type': 'application/json' }
  const ask = async (path: string, init: RequestInit = {}) => {
    const response = await fetch(`${desk.url}/api/${path}`, { headers, ...init })
    return { status: response.status, text: await response.text() }
  }
  return {
    setCookie,
    async get(path: string) {
      return JSON.parse((await ask(path)).text)
    },
    async token() {
      return (await ask('token')).text
    },
    async place(order: Record<string, unknown>) {
      const { status, text } = await ask('orders', { method: 'POST', body: JSON.stringify(order) })
      return { status, body: JSON.parse(text) }
    },
    async cancel(orderId: number) {
      return (await ask(`orders/${orderId}`, { method: 'DELETE' })).status
    },
  }
}
