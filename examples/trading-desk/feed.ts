/**
 * The market feed: replays the price rows of `vega-datasets` in the order of their dates.
 *
 * Owns the rows and the pace. Never makes up a price: each tick is one row of `stocks.csv` (monthly) or of
 * `sp500-2000.csv` (daily, its `close`), as it stands in the file.
 */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Price, PriceMoved } from './events.js'

export const INSTRUMENTS: Readonly<Record<string, string>> = {
  SP500: 'S&P 500',
  AAPL: 'Apple',
  AMZN: 'Amazon',
  GOOG: 'Google',
  IBM: 'IBM Corp.',
  MSFT: 'Microsoft',
}

const MAX_ROWS_PER_SECOND = 200

export interface FeedOptions {
  /** Up to 200. Default: 8, which plays a month in about three seconds and the decade in six and a half minutes. */
  rowsPerSecond?: number
  /** Date to begin at, `YYYY-MM-DD` or a part of it. Default: wherever the wall clock has the market by now. */
  from?: string | undefined
  /** The row that was played last before a restart: the market never goes back behind it. */
  behind?: number | undefined
}

export class Feed {
  readonly #rows: Price[]
  readonly #intervalMs: number
  #row: number

  constructor({ rowsPerSecond = 8, from, behind = 0 }: FeedOptions = {}, rows: Price[] = readRows()) {
    if (!(rowsPerSecond > 0 && rowsPerSecond <= MAX_ROWS_PER_SECOND)) {
      throw new RangeError(`rowsPerSecond is above 0, at most ${MAX_ROWS_PER_SECOND}`)
    }
    this.#rows = rows
    this.#intervalMs = 1000 / rowsPerSecond
    // The market goes on while the server is away: a restart finds it where the wall clock has it.
    const start = from === undefined ? Math.floor(Date.now() / this.#intervalMs) : this.#firstRowOf(from)
    this.#row = Math.max(behind, start)
  }

  /** The number of the row played last. */
  get row(): number {
    return this.#row
  }

  /** All rows that this round of the replay has played. */
  history(): PriceMoved[] {
    const first = this.#row - (this.#row % this.#rows.length)
    return this.#rows.slice(0, this.#row - first + 1).map((price, index) => moved(first + index, price))
  }

  /** Whether `row` begins a round. */
  isFirst(row: number): boolean {
    return row % this.#rows.length === 0
  }

  /** The rows to come, each at its time or, when the consumer took longer, as soon as it asks. Ends with `signal`. */
  async *play(signal: AbortSignal): AsyncGenerator<PriceMoved> {
    for (let due = Date.now() + this.#intervalMs; !signal.aborted; due += this.#intervalMs) {
      try {
        await sleep(Math.max(due - Date.now(), 0), undefined, { signal })
      } catch (error) {
        if (signal.aborted) return
        throw error
      }
      this.#row += 1
      yield moved(this.#row, this.#rows[this.#row % this.#rows.length] as Price)
    }
  }

  #firstRowOf(from: string): number {
    const index = this.#rows.findIndex((row) => row.date >= from)
    if (index === -1) throw new RangeError(`the replay ends before ${from}`)
    return index
  }
}

function moved(row: number, price: Price): PriceMoved {
  return { type: 'PriceMoved', row, ...price }
}

/** Both data sets in the order of their dates, up to the last date that both of them know. */
export function readRows(): Price[] {
  const stocks = readCsv('stocks.csv').map(([symbol, date, price]) => row(symbol, isoDate(date), price))
  const index = readCsv('sp500-2000.csv').map(([date, , , , close]) => row('SP500', date, close))
  const end = stocks.reduce((last, { date }) => (date > last ? date : last), '')
  return [...index, ...stocks]
    .filter(({ date }) => date <= end)
    .sort((a, b) => (a.date < b.date ? -1 : a.date > b.date ? 1 : 0))
}

function readCsv(name: string): string[][] {
  const file = new URL(`../data/${name}`, import.meta.resolve('vega-datasets'))
  const [, ...lines] = readFileSync(file, 'utf8').trim().split('\n')
  return lines.map((line) => line.trim().split(','))
}

/** Refuses what is not a price, so that a changed file is noticed here and not on the page. */
function row(symbol = '', date = '', price = ''): Price {
  if (!(symbol in INSTRUMENTS) || date === '' || !(Number(price) > 0)) {
    throw new Error(`not a price row: ${symbol} ${date} ${price}`)
  }
  return { symbol, date, price: Number(price) }
}

/** `Jan 1 2000` as `2000-01-01`, whatever the time zone of the machine. */
function isoDate(date = ''): string {
  return new Date(`${date} UTC`).toISOString().slice(0, 10)
}
