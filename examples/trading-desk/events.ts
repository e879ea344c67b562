/**
 * The facts that the desk records: what happened to whom, in the past tense.
 *
 * Owns their shapes only. What leads to an event is decided in `desk.ts`, what follows from it in `account.ts`.
 */

export type Side = 'buy' | 'sell'

export interface OrderPlaced {
  type: 'OrderPlaced'
  userId: string
  orderId: string
  symbol: string
  side: Side
  quantity: number
}

export interface OrderFilled {
  type: 'OrderFilled'
  userId: string
  orderId: string
  symbol: string
  side: Side
  quantity: number
  price: number
  /** Date of the row that filled the order, `YYYY-MM-DD`. */
  priceDate: string
  /** What the user has left after this fill, in dollars. */
  cash: number
}

export interface OrderCancelled {
  type: 'OrderCancelled'
  userId: string
  orderId: string
  reason: string
}

export interface PositionEvent {
  type: 'PositionOpened' | 'PositionChanged' | 'PositionClosed'
  userId: string
  symbol: string
  /** Shares held from now on; zero when the position was closed. */
  quantity: number
  averagePrice: number
  /** Profit or loss of the shares sold by this change, in dollars. */
  realised: number
}

export type DeskEvent = OrderPlaced | OrderFilled | OrderCancelled | PositionEvent

/** An event as the log holds it. `logSeq` counts from 1 over all users; `at` is RFC 3339 in UTC. */
export type Logged<E = DeskEvent> = E & { logSeq: number; at: string }
