/**
 * The trading desk: takes commands and prices, decides, records what it decided, and says so.
 *
 * Owns the transactions. Never talks to a client: whoever wants to know listens for the events, which come after
 * the commit and in its order.
 */
import { type Database, type Queries, rows } from './database.js'
import type { DeskEvent, Order, OrderChanged, Position, PriceMoved, Trade } from './events.js'
import { type Feed, INSTRUMENTS } from './feed.js'
import { OPEN, ORDER_COLUMNS, openOrders } from './history.js'
import { cents, check, fillable, OPENING_CASH, OrderRefused, positionAfter, type Ticket } from './rules.js'

export class Desk {
  readonly #database: Database
  readonly #feed: Feed
  readonly #tell: (event: DeskEvent) => void
  #turn: Promise<unknown> = Promise.resolve()

  /** `tell` is called with each event, after the commit; what it throws is a defect of the process. */
  constructor(database: Database, feed: Feed, tell: (event: DeskEvent) => void) {
    this.#database = database
    this.#feed = feed
    this.#tell = tell
  }

  /** Brings the price history up to where the feed begins: rows of this round that were played while nobody looked. */
  async catchUp(): Promise<void> {
    const played = this.#feed.history()
    await this.#database.transaction(async (sql) => {
      await sql.query('DELETE FROM prices WHERE row < $1', [played[0]?.row])
      await sql.query(
        `INSERT INTO prices SELECT row, symbol, date, price
         FROM jsonb_to_recordset($1) AS played (row bigint, symbol text, date date, price double precision)
         ON CONFLICT DO NOTHING`,
        [JSON.stringify(played)],
      )
    })
  }

  /** Takes an order, which fills at the next rows of its symbol that its limit allows. Rejects with `OrderRefused`. */
  async place(userId: string, ticket: Ticket): Promise<Order> {
    if (!Object.hasOwn(INSTRUMENTS, ticket.symbol)) throw new OrderRefused('There is no such symbol.')
    return this.#decide(async (sql, events) => {
      const { symbol, side, quantity, limitPrice } = ticket
      const [last] = await rows<{ price: number }>(
        sql,
        'SELECT price FROM prices WHERE symbol = $1 ORDER BY row DESC LIMIT 1',
        [symbol],
      )
      const { quantity: held } = await position(sql, userId, symbol)
      check(ticket, { cash: await cash(sql, userId), held, open: await openOrders(sql, userId), price: last?.price })

      const seq = await nextSeq(sql)
      const [order] = await rows<Order>(
        sql,
        `INSERT INTO orders (order_id, user_id, symbol, side, quantity, limit_price, at)
         VALUES ($1, $2, $3, $4, $5, $6, now()) RETURNING ${ORDER_COLUMNS}`,
        [seq, userId, symbol, side, quantity, limitPrice],
      )
      events.push({ type: 'OrderPlaced', seq, userId, order: order as Order })
      return order as Order
    })
  }

  /** Cancels what is left of an open order of `userId`. Rejects with `OrderRefused`: it may just have been filled. */
  cancel(userId: string, orderId: number): Promise<void> {
    return this.#decide(async (sql, events) => {
      const cancelled = await cancel(sql, userId, orderId, 'Cancelled by you')
      if (cancelled === undefined) throw new OrderRefused('This order is not open any more.')
      events.push(cancelled)
    })
  }

  /** Records a price, then what it fills, oldest order first. */
  price(price: PriceMoved): Promise<void> {
    return this.#decide(async (sql, events) => {
      const { row, symbol, date } = price
      if (this.#feed.isFirst(row)) {
        await sql.query('DELETE FROM prices')
        events.push({ type: 'ReplayRestarted', row, date })
      }
      await sql.query('INSERT INTO prices VALUES ($1, $2, $3, $4)', [row, symbol, date, price.price])
      events.push(price) // First the price, then what it filled.
      const waiting = await rows<Order & { userId: string }>(
        sql,
        `SELECT ${ORDER_COLUMNS}, user_id AS "userId" FROM orders WHERE symbol = $1 AND ${OPEN} ORDER BY order_id`,
        [symbol],
      )
      for (const { userId, ...order } of waiting) {
        const quantity = fillable(order, price.price)
        if (quantity > 0) events.push(...(await fill(sql, userId, order, quantity, price)))
      }
    })
  }

  /** Resolves when everything asked so far is decided. */
  async settled(): Promise<void> {
    await this.#turn
  }

  /** One decision after the other, each in a transaction; its events are told when it is committed. */
  #decide<T>(decision: (sql: Queries, events: DeskEvent[]) => Promise<T>): Promise<T> {
    const decided = this.#turn.then(async () => {
      const events: DeskEvent[] = []
      const result = await this.#database.transaction((sql) => decision(sql, events))
      for (const event of events) this.#tell(event)
      return result
    })
    this.#turn = decided.catch(() => {}) // Whoever asked gets the error; the next decision is not concerned.
    return decided
  }
}

/** A trade and what it does to cash and position, or a cancellation when the price has run away from the cash. */
async function fill(
  sql: Queries,
  userId: string,
  { orderId, symbol, side }: Order,
  quantity: number,
  { price, date }: PriceMoved,
): Promise<DeskEvent[]> {
  const left = cents((await cash(sql, userId)) + (side === 'sell' ? price : -price) * quantity)
  if (left < 0) {
    const cancelled = await cancel(sql, userId, orderId, 'Cash did not cover the next price')
    return cancelled === undefined ? [] : [cancelled]
  }
  const seq = await nextSeq(sql)
  const [order] = await rows<Order>(
    sql,
    `UPDATE orders SET filled = filled + $2, at = now(),
       status = CASE WHEN filled + $2 = quantity THEN 'filled' ELSE 'partial' END
     WHERE order_id = $1 RETURNING ${ORDER_COLUMNS}`,
    [orderId, quantity],
  )
  const { status, at } = order as Order
  const trade: Trade = { tradeId: seq, orderId, symbol, side, quantity, price, priceDate: date, at }
  await sql.query('INSERT INTO trades VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)', [
    ...[seq, orderId, userId, symbol, side, quantity, price, date, at],
  ])
  await sql.query('INSERT INTO accounts VALUES ($1, $2) ON CONFLICT (user_id) DO UPDATE SET cash = $2', [userId, left])
  const held = await position(sql, userId, symbol)
  const after = positionAfter(trade, held)
  await keepPosition(sql, userId, after)
  return [
    {
      type: status === 'filled' ? 'OrderFilled' : 'OrderPartiallyFilled',
      ...{ seq, userId, order: order as Order, trade, cash: left },
    },
    {
      type: after.quantity === 0 ? 'PositionClosed' : held.quantity === 0 ? 'PositionOpened' : 'PositionChanged',
      ...{ seq: await nextSeq(sql), userId, position: after },
    },
  ]
}

async function cancel(
  sql: Queries,
  userId: string,
  orderId: number,
  reason: string,
): Promise<OrderChanged | undefined> {
  const [order] = await rows<Order>(
    sql,
    `UPDATE orders SET status = 'cancelled', reason = $3, at = now()
     WHERE order_id = $1 AND user_id = $2 AND ${OPEN} RETURNING ${ORDER_COLUMNS}`,
    [orderId, userId, reason],
  )
  return order && { type: 'OrderCancelled', seq: await nextSeq(sql), userId, order }
}

async function cash(sql: Queries, userId: string): Promise<number> {
  const [account] = await rows<{ cash: number }>(sql, 'SELECT cash FROM accounts WHERE user_id = $1', [userId])
  return account?.cash ?? OPENING_CASH
}

async function position(sql: Queries, userId: string, symbol: string): Promise<Position> {
  const [held] = await rows<Position>(
    sql,
    'SELECT symbol, quantity, average_price AS "averagePrice" FROM positions WHERE user_id = $1 AND symbol = $2',
    [userId, symbol],
  )
  return held ?? { symbol, quantity: 0, averagePrice: 0 }
}

async function keepPosition(sql: Queries, userId: string, { symbol, quantity, averagePrice }: Position): Promise<void> {
  if (quantity === 0) {
    await sql.query('DELETE FROM positions WHERE user_id = $1 AND symbol = $2', [userId, symbol])
    return
  }
  await sql.query(
    `INSERT INTO positions VALUES ($1, $2, $3, $4)
     ON CONFLICT (user_id, symbol) DO UPDATE SET quantity = $3, average_price = $4`,
    [userId, symbol, quantity, averagePrice],
  )
}

async function nextSeq(sql: Queries): Promise<number> {
  const [next] = await rows<{ seq: number }>(sql, `SELECT nextval('event_seq') AS seq`)
  return (next as { seq: number }).seq
}
