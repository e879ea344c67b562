/**
 * The market feed: replays the price rows of `vega-datasets` in the order of their dates.
 *
 * Owns the rows and the pace. Never makes up a price: each tick is one row of `stocks.csv` (monthly) or of
 * `sp500-2000.csv` (daily, its `close`), as it stands in the file.
 */
import { EventEmitter } from 'node:events'
import { readFileSync } from 'node:fs'

/** One row of a data set. `date` is `YYYY-MM-DD`, `price` in dollars (in points for the index). */
export interface Row {
  symbol: string
  date: string
  price: number
}

/** A row that has just become the market's last word. `row` grows by one with each tick, over restarts too. */
export interface PriceMoved extends Row {
  row: number
}

export const INSTRUMENTS: Readonly<Record<string, string>> = {
  SP500: 'S&P 500',
  AAPL: 'Apple',
  AMZN: 'Amazon',
  GOOG: 'Google',
  IBM: 'IBM Corp.',
  MSFT: 'Microsoft',
}

interface FeedEvents {
  price: [PriceMoved]
  /** The last row has been played; the next price is the first one again. */
  restart: [{ row: number; date: string }]
}

export interface FeedOptions {
  /** Up to 1000. Default: 8, which plays a month in about three seconds and the decade in six and a half minutes. */
  rowsPerSecond?: number
  /** Date to begin at, `YYYY-MM-DD` or a part of it. Default: wherever the wall clock has the market by now. */
  from?: string | undefined
}

export class Feed extends EventEmitter<FeedEvents> {
  readonly #rows: Row[]
  readonly #intervalMs: number
  readonly #latest = new Map<string, Row>()
  #row: number
  #timer: NodeJS.Timeout | undefined

  constructor({ rowsPerSecond = 8, from }: FeedOptions = {}, rows: Row[] = readRows()) {
    super()
    if (!(rowsPerSecond > 0 && rowsPerSecond <= 1000)) throw new RangeError('rowsPerSecond is above 0, at most 1000')
    this.#rows = rows
    this.#intervalMs = 1000 / rowsPerSecond
    // The market goes on while the server is away: a restart finds it where the wall clock has it.
    this.#row = from === undefined ? Math.floor(Date.now() / this.#intervalMs) : this.#firstRowOf(from)
    for (const past of this.history()) this.#latest.set(past.symbol, past)
  }

  /** The number of the row played last. */
  get row(): number {
    return this.#row
  }

  /** The last price of `symbol`; undefined before its first row. */
  latest(symbol: string): Row | undefined {
    return this.#latest.get(symbol)
  }

  /** All rows that this round of the replay has played. */
  history(): Row[] {
    return this.#rows.slice(0, (this.#row % this.#rows.length) + 1)
  }

  start(): void {
    this.#timer = setInterval(() => this.#tick(), this.#intervalMs)
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #tick(): void {
    this.#row += 1
    const row = this.#rows[this.#row % this.#rows.length] as Row
    if (row === this.#rows[0]) {
      this.#latest.clear()
      this.emit('restart', { row: this.#row, date: row.date })
    }
    this.#latest.set(row.symbol, row)
    this.emit('price', { row: this.#row, ...row })
  }

  #firstRowOf(from: string): number {
    const index = this.#rows.findIndex((row) => row.date >= from)
    if (index === -1) throw new RangeError(`the replay ends before ${from}`)
    return index
  }
}

/** Both data sets in the order of their dates, up to the last date that both of them know. */
export function readRows(): Row[] {
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
function row(symbol = '', date = '', price = ''): Row {
  if (!(symbol in INSTRUMENTS) || date === '' || !(Number(price) > 0)) {
    throw new Error(`not a price row: ${symbol} ${date} ${price}`)
  }
  return { symbol, date, price: Number(price) }
}

/** `Jan 1 2000` as `2000-01-01`, whatever the time zone of the machine. */
function isoDate(date = ''): string {
  return new Date(`${date} UTC`).toISOString().slice(0, 10)
}
