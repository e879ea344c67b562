/**
 * The publisher: turns what happened into messages for the clients.
 *
 * Owns the table from domain event to WebSocket type, and the topics. It comes after the business and never
 * before it: what goes wrong here is reported, and fails no order.
 */
import type { DeskEvent } from './events.js'

const TYPES: Readonly<Record<DeskEvent['type'], string>> = {
  OrderPlaced: 'order_update',
  OrderPartiallyFilled: 'order_update',
  OrderFilled: 'order_filled',
  OrderCancelled: 'order_cancelled',
  PositionOpened: 'position_update',
  PositionChanged: 'position_update',
  PositionClosed: 'position_update',
  PriceMoved: 'market_data_update',
  ReplayRestarted: 'market_replay_restarted',
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

  /** PROTOCOL §6: the domain type stands in the envelope and, for older handlers, in the payload too. */
  publish(event: DeskEvent): void {
    const [t, topic] = [TYPES[event.type], 'userId' in event ? ordersTopic(event.userId) : MARKET_TOPIC]
    const message = {
      t,
      original_event_type: event.type,
      p: { ...payload(event), original_event_type: event.type },
    }
    try {
      if (!this.#engine.broadcast(topic, message)) console.warn(`${t} to ${topic} not sent: over the memory budget`)
    } catch (error) {
      console.error(`${t} to ${topic} not sent:`, error)
    }
  }
}

/** An event without what the envelope and the topic say already; an order and a position lie flat in it. */
function payload(event: DeskEvent): object {
  if (!('userId' in event)) {
    const { type: _, ...facts } = event
    return facts
  }
  if ('position' in event) return { seq: event.seq, ...event.position }
  const { seq, order, trade, cash } = event
  return { seq, ...order, trade, cash }
}
