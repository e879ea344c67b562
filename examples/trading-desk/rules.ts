/**
 * The rules of trading: what may be ordered, what a price fills, what a fill does to a position.
 *
 * Owns decisions only, each a plain function of what it is given. Never reads or writes the database.
 */
import type { Order, Position, Side, Trade } from './events.js'

/** What every user begins with, in dollars. */
export const OPENING_CASH = 100_000

/** What one row of a symbol fills of one order, in dollars, though at least one share: larger orders fill in parts. */
export const DOLLARS_PER_ROW = 10_000

const MAX_OPEN_ORDERS = 20
const MAX_QUANTITY = 10_000
const MAX_LIMIT_PRICE = 100_000

/** The order cannot be taken or cancelled; the message is for the person at the page. */
export class OrderRefused extends Error {}

/** An order as it is asked for. Without `limitPrice` it takes any price. */
export interface Ticket {
  symbol: string
  side: Side
  quantity: number
  limitPrice: number | null
}

/** What a user has when an order is asked for; `price` is the symbol's last one. */
export interface Means {
  cash: number
  held: number
  open: Order[]
  price: number | undefined
}

/** Throws `OrderRefused` unless `means` cover the order together with all that are open. */
export function check(ticket: Ticket, { cash, held, open, price }: Means): void {
  const { symbol, side, quantity, limitPrice } = ticket
  if (price === undefined) throw new OrderRefused(`${symbol} is not listed yet.`)
  if (!Number.isInteger(quantity) || quantity < 1 || quantity > MAX_QUANTITY) {
    throw new OrderRefused(`The quantity is a whole number from 1 to ${MAX_QUANTITY.toLocaleString('en')}.`)
  }
  if (limitPrice !== null && !(limitPrice >= 0.01 && limitPrice <= MAX_LIMIT_PRICE)) {
    throw new OrderRefused(`A limit is a price from 0.01 to ${MAX_LIMIT_PRICE.toLocaleString('en')}.`)
  }
  if (open.length >= MAX_OPEN_ORDERS) throw new OrderRefused(`At most ${MAX_OPEN_ORDERS} orders can be open.`)
  if (side === 'sell') {
    const spoken = open.filter((order) => order.side === 'sell' && order.symbol === symbol)
    const free = spoken.reduce((left, order) => left - remaining(order), held)
    if (quantity > free) throw new OrderRefused(`You have ${free} ${symbol} to sell.`)
  } else {
    const spoken = open.filter((order) => order.side === 'buy' && order.limitPrice !== null)
    const free = spoken.reduce((left, order) => left - remaining(order) * (order.limitPrice as number), cash)
    if ((limitPrice ?? price) * quantity > free) throw new OrderRefused('Your free cash does not cover this order.')
  }
}

/** How many shares of an open order a row at `price` fills, zero when its limit says no. */
export function fillable(order: Order, price: number): number {
  const { side, limitPrice } = order
  if (limitPrice !== null && (side === 'buy' ? price > limitPrice : price < limitPrice)) return 0
  return Math.min(remaining(order), Math.max(1, Math.floor(DOLLARS_PER_ROW / price)))
}

/** What a trade makes of a position; selling leaves the average price of what is kept as it was. */
export function positionAfter(trade: Omit<Trade, 'tradeId'>, held: Position): Position {
  const { symbol, side, quantity: traded, price } = trade
  if (side === 'sell') return { symbol, quantity: held.quantity - traded, averagePrice: held.averagePrice }
  const quantity = held.quantity + traded
  return { symbol, quantity, averagePrice: (held.averagePrice * held.quantity + price * traded) / quantity }
}

export function remaining(order: Order): number {
  return order.quantity - order.filled
}

/** Dollars rounded to whole cents, so that sums of prices do not collect the dust of binary fractions. */
export function cents(dollars: number): number {
  return Math.round(dollars * 100) / 100
}
