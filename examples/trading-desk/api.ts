/**
 * What the page asks for over HTTP: the state at the time of connecting, the history, and orders.
 *
 * Owns the routes and the shapes of their answers. What happens afterwards reaches the page over the WebSocket.
 */
import { json, type NextFunction, type Request, type Response, Router } from 'express'
import type { Desk } from './desk.js'
import { INSTRUMENTS } from './feed.js'
import type { History } from './history.js'
import { cents, OrderRefused, type Ticket } from './rules.js'
import { userOf } from './session.js'

export function api(desk: Desk, history: History): Router {
  const router = Router()

  // `seq` and `row` say how far this state has come: the page skips live messages that are already in it.
  router.get('/state', async (_request, response) => {
    response.json(await history.state(userOf(response)))
  })

  router.get('/prices/:symbol', async ({ params, query }, response) => {
    if (!Object.hasOwn(INSTRUMENTS, params.symbol)) {
      response.status(404).json({ error: 'There is no such symbol.' })
      return
    }
    response.json(await history.prices(params.symbol, whole(query.after) ?? -1))
  })

  router.get('/trades', async ({ query }, response) => {
    response.json(await history.trades(userOf(response), { after: whole(query.after), before: whole(query.before) }))
  })

  router.post('/orders', json(), async (request, response) => {
    response.status(201).json(await desk.place(userOf(response), ticket(request.body ?? {})))
  })

  router.delete('/orders/:orderId', async (request, response) => {
    await desk.cancel(userOf(response), whole(request.params.orderId) ?? 0)
    response.json({})
  })

  router.use((error: Error, _request: Request, response: Response, next: NextFunction) => {
    if (error instanceof OrderRefused) response.status(422).json({ error: error.message })
    else next(error)
  })
  return router
}

/** What a form or JSON says as a number; NaN for everything else. */
function number(value: unknown): number {
  return typeof value === 'number' || (typeof value === 'string' && value !== '') ? Number(value) : Number.NaN
}

/** A number of a row, an order or a trade; undefined for what is none. */
function whole(text: unknown): number | undefined {
  const value = number(text)
  return Number.isSafeInteger(value) ? value : undefined
}

function ticket({ symbol, side, quantity, limitPrice }: Record<string, unknown>): Ticket {
  if (side !== 'buy' && side !== 'sell') throw new OrderRefused('An order is to buy or to sell.')
  if (typeof symbol !== 'string') throw new OrderRefused('An order names a symbol.')
  const isMarket = limitPrice === undefined || limitPrice === null || limitPrice === ''
  return { symbol, side, quantity: number(quantity), limitPrice: isMarket ? null : cents(number(limitPrice)) }
}
