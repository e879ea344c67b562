/**
 * The publisher: turns what happened into messages for the clients.
 *
 * Owns the table from domain event to WebSocket type, and the topics. It comes after the business and never
 * before it: what goes wrong here is reported, and fails no order.
 */
import type { DeskEvent, Logged } from './events.js'
import type { PriceMoved } from './feed.js'

/** The WebSocket type of each domain event and, for an order, the status that the event leaves it in. */
const MESSAGES: Readonly<Record<DeskEvent['type'], { t: string; status?: string }>> = {
  OrderPlaced: { t: 'order_update', status: 'open' },
  OrderFilled: { t: 'order_filled', status: 'filled' },
  OrderCancelled: { t: 'order_cancelled', status: 'cancelled' },
  PositionOpened: { t: 'position_update' },
  PositionChanged: { t: 'position_update' },
  PositionClosed: { t: 'position_update' },
}

/** What everybody sees. */
export const MARKET_TOPIC = 'market_data'

/** What only `userId` sees, in each of his tabs. */
export function ordersTopic(userId: string): string {
  return `user:${userId}:order_events`
}

/** The part of the engine that the publisher needs. */
export interface Broadcaster {
  broadcast(topic: string, event: { t: string; p: object }): boolean
}

export class Publisher {
  readonly #engine: Broadcaster

  constructor(engine: Broadcaster) {
    this.#engine = engine
  }

  publishEvent(event: Logged): void {
    const { type, userId, ...payload } = event
    const { t, ...status } = MESSAGES[type]
    this.#publish(ordersTopic(userId), t, type, { ...payload, ...status })
  }

  publishPrice(price: PriceMoved): void {
    this.#publish(MARKET_TOPIC, 'market_data_update', 'PriceMoved', price)
  }

  publishRestart(start: { row: number; date: string }): void {
    this.#publish(MARKET_TOPIC, 'market_replay_restarted', 'ReplayRestarted', start)
  }

  /** PROTOCOL §6: the domain type stands in the envelope and, for older handlers, in the payload too. */
  #publish(topic: string, t: string, domainType: string, payload: object): void {
    const event = { t, original_event_type: domainType, p: { ...payload, original_event_type: domainType } }
    try {
      if (!this.#engine.broadcast(topic, event)) console.warn(`${t} to ${topic} not sent: over the memory budget`)
    } catch (error) {
      console.error(`${t} to ${topic} not sent:`, error)
    }
  }
}
