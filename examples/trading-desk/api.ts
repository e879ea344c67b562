/**
 * What the page asks for over HTTP: the state at the time of connecting, and orders.
 *
 * Owns the routes and the shapes of their answers. What happens afterwards reaches the page over the WebSocket.
 */
import { json, type NextFunction, type Request, type Response, Router } from 'express'
import { OPENING_CASH } from './account.js'
import { type Desk, OrderRefused } from './desk.js'
import type { EventLog } from './event-log.js'
import { type Feed, INSTRUMENTS } from './feed.js'
import { userOf } from './session.js'

export function api(desk: Desk, feed: Feed, log: EventLog): Router {
  const router = Router()

  // `logSeq` and `row` say how far this state has come: the page skips live messages that are already in it.
  router.get('/state', (_request, response) => {
    const userId = userOf(response)
    const { cash, orders, positions } = desk.account(userId)
    response.json({
      userId,
      logSeq: log.lastSeq,
      row: feed.row,
      instruments: INSTRUMENTS,
      prices: pricesBySymbol(feed),
      openingCash: OPENING_CASH,
      cash,
      orders: Object.fromEntries(orders),
      positions: Object.fromEntries(positions),
    })
  })

  router.post('/orders', json(), (request, response) => {
    const { symbol, side, quantity } = request.body ?? {}
    if (side !== 'buy' && side !== 'sell') throw new OrderRefused('An order is to buy or to sell.')
    response.status(201).json(desk.place(userOf(response), String(symbol), side, Number(quantity)))
  })

  router.delete('/orders/:orderId', (request, response) => {
    desk.cancel(userOf(response), request.params.orderId)
    response.json({})
  })

  router.use((error: Error, _request: Request, response: Response, next: NextFunction) => {
    if (error instanceof OrderRefused) response.status(422).json({ error: error.message })
    else next(error)
  })
  return router
}

function pricesBySymbol(feed: Feed): Record<string, [date: string, price: number][]> {
  const prices: Record<string, [string, number][]> = {}
  for (const symbol of Object.keys(INSTRUMENTS)) prices[symbol] = []
  for (const { symbol, date, price } of feed.history()) prices[symbol]?.push([date, price])
  return prices
}
