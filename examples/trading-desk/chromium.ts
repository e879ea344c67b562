/**
 * The browser of the test and the screenshots: Debian's Chromium, or the one that `CHROMIUM` names.
 *
 * Owns the flags that keep it quiet. Never downloads a browser.
 */
import { existsSync } from 'node:fs'
import { type Browser, chromium } from 'playwright-core'

const PATH = process.env.CHROMIUM ?? '/usr/bin/chromium'

export function hasChromium(): boolean {
  return existsSync(PATH)
}

export function launchChromium(): Promise<Browser> {
  const args = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ]
  return chromium.launch({ executablePath: PATH, args })
}
