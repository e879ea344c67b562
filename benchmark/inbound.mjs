/**
 * Texts from clients, as fast as the application's JavaScript looks at their characters.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { cost, difference } from './measure.mjs'
import { numbered } from './servers/message.mjs'
import { MESSAGE_BYTES } from './session.mjs'

const CONNECTIONS = 64
/** How long the server may take to finish what the kernel still holds. */
const DRAIN_STEPS = 100

/** A scenario. */
export function inbound({ name, title, peers }) {
  return {
    name,
    title,
    unit: 'messages/s',
    isHigherBetter: true,
    peers,
    async run(session) {
      await session.listen({ mode: 'touch' })
      await session.connect(CONNECTIONS)
      await session.load.call('flood', { text: session.wire(numbered(1, MESSAGE_BYTES)) })
      await pause(session.timing.warmupMs)
      const [markedBefore, before] = [await session.mark(), await session.server.call('inbound')]
      await pause(session.timing.measureMs)
      const [markedAfter, after] = [await session.mark(), await session.server.call('inbound')]
      const { sent } = await session.load.call('stop')
      let arrived = await session.server.call('inbound')
      for (let step = 0; step < DRAIN_STEPS && arrived.messages < sent; step++) {
        await pause(50)
        arrived = await session.server.call('inbound')
      }
      const messages = after.messages - before.messages
      return {
        value: messages / ((after.now - before.now) / 1e9),
        ...cost(difference(markedBefore, markedAfter), messages),
        lost: sent - arrived.messages,
        touched: arrived.touched,
      }
    },
  }
}
