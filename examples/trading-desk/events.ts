/**
 * What happened, in the past tense: the facts that the desk tells whoever listens.
 *
 * Owns their shapes only. What leads to an event is decided in `desk.ts`.
 */

export type Side = 'buy' | 'sell'

/** Open while `working` (nothing filled yet) or `partial`; final when `filled` or `cancelled`. */
export type OrderStatus = 'working' | 'partial' | 'filled' | 'cancelled'

export interface Order {
  /** Number of the event that placed it, over all users. */
  orderId: number
  symbol: string
  side: Side
  quantity: number
  /** The worst price that it takes, in dollars; null in a market order, which takes any. */
  limitPrice: number | null
  /** Shares filled so far, from 0 to `quantity`. */
  filled: number
  status: OrderStatus
  /** Why it was cancelled. */
  reason: string | null
  /** Time of the last change, RFC 3339 in UTC. */
  at: string
}

/** One fill of an order, whole or in part. */
export interface Trade {
  /** Number of the event that brought it, over all users. */
  tradeId: number
  orderId: number
  symbol: string
  side: Side
  quantity: number
  price: number
  /** Date of the row that brought the price, `YYYY-MM-DD`. */
  priceDate: string
  at: string
}

export interface Position {
  symbol: string
  /** Shares held; zero when the position was closed. */
  quantity: number
  averagePrice: number
}

/** `seq` counts the events of all users and grows with each; the state that a page fetches names the last one in it. */
interface OfUser {
  seq: number
  userId: string
}

export interface OrderChanged extends OfUser {
  type: 'OrderPlaced' | 'OrderPartiallyFilled' | 'OrderFilled' | 'OrderCancelled'
  /** The order as the event leaves it. */
  order: Order
  /** The fill, in the two events that are one, and the cash that is left after it, in dollars. */
  trade?: Trade
  cash?: number
}

export interface PositionChanged extends OfUser {
  type: 'PositionOpened' | 'PositionChanged' | 'PositionClosed'
  position: Position
}

/** One row of a data set. `date` is `YYYY-MM-DD`, `price` in dollars (in points for the index). */
export interface Price {
  symbol: string
  date: string
  price: number
}

/** A row that has just become the market's last word. `row` grows by one with each, over restarts too. */
export interface PriceMoved extends Price {
  type: 'PriceMoved'
  row: number
}

/** The last row has been played: `row`, which comes next, is the first one again. */
export interface ReplayRestarted {
  type: 'ReplayRestarted'
  row: number
  date: string
}

export type DeskEvent = OrderChanged | PositionChanged | PriceMoved | ReplayRestarted
