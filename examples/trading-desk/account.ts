/**
 * The read model of one user: cash, orders, positions.
 *
 * Owns what follows from an event. Never decides whether something may happen.
 */
import type { Logged, Side } from './events.js'

/** What every user begins with, in dollars. */
export const OPENING_CASH = 100_000

/** Finished orders kept for the page; the log keeps all of them. */
const FINISHED_ORDERS_KEPT = 50

export interface Order {
  orderId: string
  symbol: string
  side: Side
  quantity: number
  status: 'open' | 'filled' | 'cancelled'
  /** Time of the last change of status, RFC 3339. */
  at: string
  /** Price of the fill, in dollars. */
  price?: number
  reason?: string
}

export interface Position {
  symbol: string
  quantity: number
  averagePrice: number
}

export class Account {
  cash = OPENING_CASH
  readonly orders = new Map<string, Order>()
  readonly positions = new Map<string, Position>()

  apply(event: Logged): void {
    switch (event.type) {
      case 'OrderPlaced': {
        const { orderId, symbol, side, quantity, at } = event
        this.orders.set(orderId, { orderId, symbol, side, quantity, status: 'open', at })
        break
      }
      case 'OrderFilled':
        this.cash = event.cash
        this.#finish(event.orderId, { status: 'filled', at: event.at, price: event.price })
        break
      case 'OrderCancelled':
        this.#finish(event.orderId, { status: 'cancelled', at: event.at, reason: event.reason })
        break
      case 'PositionOpened':
      case 'PositionChanged': {
        const { symbol, quantity, averagePrice } = event
        this.positions.set(symbol, { symbol, quantity, averagePrice })
        break
      }
      case 'PositionClosed':
        this.positions.delete(event.symbol)
    }
  }

  openOrders(): Order[] {
    return [...this.orders.values()].filter(({ status }) => status === 'open')
  }

  #finish(orderId: string, outcome: Partial<Order>): void {
    const order = this.orders.get(orderId)
    if (order === undefined) throw new Error(`the log finishes order ${orderId} but never placed it`)
    Object.assign(order, outcome)
    const finished = [...this.orders.values()].filter(({ status }) => status !== 'open')
    if (finished.length > FINISHED_ORDERS_KEPT) this.orders.delete((finished[0] as Order).orderId)
  }
}

/** Dollars rounded to whole cents, so that sums of prices do not collect the dust of binary fractions. */
export function cents(dollars: number): number {
  return Math.round(dollars * 100) / 100
}
