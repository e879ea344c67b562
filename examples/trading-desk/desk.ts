/**
 * The trading desk: takes commands, decides, and records what it decided.
 *
 * Owns the rules of trading. Never talks to a client: whoever wants to know listens to the log.
 */
import { randomUUID } from 'node:crypto'
import { Account, cents, type Order } from './account.js'
import type { EventLog } from './event-log.js'
import type { DeskEvent, Logged, OrderFilled, OrderPlaced, PositionEvent, Side } from './events.js'
import { type Feed, INSTRUMENTS, type PriceMoved } from './feed.js'

const MAX_OPEN_ORDERS = 20
const MAX_QUANTITY = 10_000

/** The order cannot be taken or cancelled; the message is for the person at the page. */
export class OrderRefused extends Error {}

export class Desk {
  readonly #log: EventLog
  readonly #feed: Feed
  readonly #accounts = new Map<string, Account>()
  readonly #open = new Map<string, OrderPlaced>()

  constructor(log: EventLog, feed: Feed) {
    this.#log = log
    this.#feed = feed
    for (const event of log.takePast()) this.#apply(event)
    log.onAppended((event) => this.#apply(event))
    feed.on('price', (price) => this.#fillOrdersAt(price))
  }

  /** The account of `userId`; one with the opening cash for a user who has never traded. */
  account(userId: string): Account {
    return this.#accounts.get(userId) ?? new Account()
  }

  /** Takes an order, which fills at the next row of its symbol. Throws `OrderRefused`. */
  place(userId: string, symbol: string, side: Side, quantity: number): Order {
    this.#check(userId, symbol, side, quantity)
    const orderId = randomUUID()
    this.#log.append({ type: 'OrderPlaced', userId, orderId, symbol, side, quantity })
    return this.account(userId).orders.get(orderId) as Order
  }

  /** Cancels an open order of `userId`. Throws `OrderRefused` when there is none: it may just have been filled. */
  cancel(userId: string, orderId: string): void {
    if (this.#open.get(orderId)?.userId !== userId) throw new OrderRefused('This order is not open any more.')
    this.#log.append({ type: 'OrderCancelled', userId, orderId, reason: 'Cancelled by you' })
  }

  #check(userId: string, symbol: string, side: Side, quantity: number): void {
    const account = this.account(userId)
    const open = account.openOrders()
    const price = this.#feed.latest(symbol)?.price
    if (!Object.hasOwn(INSTRUMENTS, symbol)) throw new OrderRefused('There is no such symbol.')
    if (price === undefined) throw new OrderRefused(`${symbol} is not listed yet.`)
    if (!Number.isInteger(quantity) || quantity < 1 || quantity > MAX_QUANTITY) {
      throw new OrderRefused(`The quantity is a whole number from 1 to ${MAX_QUANTITY.toLocaleString('en')}.`)
    }
    if (open.length >= MAX_OPEN_ORDERS) throw new OrderRefused(`At most ${MAX_OPEN_ORDERS} orders can be open.`)
    if (side === 'sell') {
      const spoken = open.filter((order) => order.side === 'sell' && order.symbol === symbol)
      const held = account.positions.get(symbol)?.quantity ?? 0
      const free = spoken.reduce((left, order) => left - order.quantity, held)
      if (quantity > free) throw new OrderRefused(`You have ${free} ${symbol} to sell.`)
    } else if (price * quantity > account.cash) {
      throw new OrderRefused('Your cash does not cover this order.')
    }
  }

  #fillOrdersAt(price: PriceMoved): void {
    for (const order of this.#open.values()) {
      if (order.symbol === price.symbol) this.#log.append(...this.#outcome(order, price))
    }
  }

  /** A fill and what it does to the position, or a cancellation when the price has run away from the cash. */
  #outcome(order: OrderPlaced, { price, date }: PriceMoved): DeskEvent[] {
    const { userId, orderId, symbol, side, quantity } = order
    const account = this.account(userId)
    const cash = cents(account.cash + (side === 'sell' ? price : -price) * quantity)
    if (cash < 0) return [{ type: 'OrderCancelled', userId, orderId, reason: 'Cash did not cover the next price' }]
    const fill: OrderFilled = {
      type: 'OrderFilled',
      userId,
      orderId,
      symbol,
      side,
      quantity,
      price,
      priceDate: date,
      cash,
    }
    return [fill, positionAfter(fill, account.positions.get(symbol))]
  }

  #apply(event: Logged): void {
    const account = this.account(event.userId)
    this.#accounts.set(event.userId, account)
    account.apply(event)
    if (event.type === 'OrderPlaced') this.#open.set(event.orderId, event)
    if (event.type === 'OrderFilled' || event.type === 'OrderCancelled') this.#open.delete(event.orderId)
  }
}

function positionAfter(fill: OrderFilled, held = { quantity: 0, averagePrice: 0 }): PositionEvent {
  const { userId, symbol, side, quantity: filled, price } = fill
  if (side === 'buy') {
    const quantity = held.quantity + filled
    const averagePrice = (held.averagePrice * held.quantity + price * filled) / quantity
    const type = held.quantity === 0 ? 'PositionOpened' : 'PositionChanged'
    return { type, userId, symbol, quantity, averagePrice, realised: 0 }
  }
  const quantity = held.quantity - filled
  const realised = cents((price - held.averagePrice) * filled)
  const type = quantity === 0 ? 'PositionClosed' : 'PositionChanged'
  return { type, userId, symbol, quantity, averagePrice: held.averagePrice, realised }
}
