/**
 * What the database knows, in the form in which the page asks for it.
 *
 * Owns the reading queries. Never changes anything.
 */
import { type Database, type Queries, rows } from './database.js'
import type { Order, Position, Trade } from './events.js'
import { INSTRUMENTS } from './feed.js'
import { OPENING_CASH } from './rules.js'

/** `[row, date, price]`: the page holds thousands of these. */
export type PricePoint = [row: number, date: string, price: number]

export interface State {
  /** Names the database: another one shares no numbers with it. */
  desk: string
  /** The last event and the last row that this state includes, and the first row of this round. */
  seq: number
  row: number
  firstRow: number
  userId: string
  openingCash: number
  cash: number
  /** Each with its newest prices, oldest first. */
  instruments: { symbol: string; name: string; prices: PricePoint[] }[]
  positions: Position[]
  /** All that are open and the newest of the others, in the order of their numbers. */
  orders: Order[]
}

export interface Span {
  after?: number | undefined
  before?: number | undefined
}

/** The condition of an order that can still be filled or cancelled. */
export const OPEN = `status IN ('working', 'partial')`

export const ORDER_COLUMNS = `order_id AS "orderId", symbol, side, quantity, limit_price AS "limitPrice", filled, status,
  reason, at`

const SPARKLINE_PRICES = 40
const FINISHED_ORDERS = 50
const TRADES_PER_PAGE = 100

export class History {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** The number of the row stored last; undefined in a new database. */
  async lastRow(): Promise<number | undefined> {
    const [last] = await rows<{ row: number | null }>(this.#database, 'SELECT max(row) AS row FROM prices')
    return last?.row ?? undefined
  }

  /** Everything that `userId` sees but the long series, as of one moment. */
  state(userId: string): Promise<State> {
    return this.#database.transaction(async (sql) => {
      const [now] = await rows<Pick<State, 'desk' | 'seq' | 'row' | 'firstRow' | 'cash'>>(
        sql,
        `SELECT (SELECT id FROM desk) AS desk,
           (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM event_seq) AS seq,
           (SELECT max(row) FROM prices) AS row,
           (SELECT min(row) FROM prices) AS "firstRow",
           coalesce((SELECT cash FROM accounts WHERE user_id = $1), $2) AS cash`,
        [userId, OPENING_CASH],
      )
      const positions = await rows<Position>(
        sql,
        'SELECT symbol, quantity, average_price AS "averagePrice" FROM positions WHERE user_id = $1',
        [userId],
      )
      const finished = await rows<Order>(
        sql,
        `SELECT ${ORDER_COLUMNS} FROM orders WHERE user_id = $1 AND NOT ${OPEN} ORDER BY order_id DESC LIMIT $2`,
        [userId, FINISHED_ORDERS],
      )
      const orders = [...finished, ...(await openOrders(sql, userId))].sort((a, b) => a.orderId - b.orderId)
      const instruments = []
      for (const [symbol, name] of Object.entries(INSTRUMENTS)) {
        instruments.push({ symbol, name, prices: await newestPrices(sql, symbol) })
      }
      return { ...(now as NonNullable<typeof now>), userId, openingCash: OPENING_CASH, instruments, positions, orders }
    })
  }

  /** The prices of `symbol` in this round that came after the row `after`, oldest first. */
  async prices(symbol: string, after: number): Promise<PricePoint[]> {
    const played = await rows<Point>(
      this.#database,
      `SELECT ${POINT} FROM prices WHERE symbol = $1 AND row > $2 ORDER BY row`,
      [symbol, after],
    )
    return played.map(point)
  }

  /** Up to 100 trades of `userId`, oldest first: the first ones after `after`, else the last ones before `before`. */
  async trades(userId: string, { after, before }: Span): Promise<Trade[]> {
    const [condition, order] = after === undefined ? ['trade_id < $2', 'DESC'] : ['trade_id > $2', 'ASC']
    const found = await rows<Trade>(
      this.#database,
      `SELECT trade_id AS "tradeId", order_id AS "orderId", symbol, side, quantity, price, price_date AS "priceDate", at
       FROM trades WHERE user_id = $1 AND ${condition} ORDER BY trade_id ${order} LIMIT ${TRADES_PER_PAGE}`,
      [userId, after ?? before ?? Number.MAX_SAFE_INTEGER],
    )
    return found.sort((a, b) => a.tradeId - b.tradeId)
  }
}

/** The open orders of `userId`, oldest first. */
export function openOrders(sql: Queries, userId: string): Promise<Order[]> {
  const query = `SELECT ${ORDER_COLUMNS} FROM orders WHERE user_id = $1 AND ${OPEN} ORDER BY order_id`
  return rows<Order>(sql, query, [userId])
}

async function newestPrices(sql: Queries, symbol: string): Promise<PricePoint[]> {
  const newest = await rows<Point>(
    sql,
    `SELECT ${POINT} FROM prices WHERE symbol = $1 ORDER BY row DESC LIMIT ${SPARKLINE_PRICES}`,
    [symbol],
  )
  return newest.reverse().map(point)
}

const POINT = 'row, date, price'

interface Point {
  row: number
  date: string
  price: number
}

function point({ row, date, price }: Point): PricePoint {
  return [row, date, price]
}
