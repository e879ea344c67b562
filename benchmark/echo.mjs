/**
 * Questions and answers: the application sends each message back, and the client waits for it.
 */
import { cost } from './measure.mjs'
import { numbered } from './servers/message.mjs'
import { MESSAGE_BYTES } from './session.mjs'

const CONNECTIONS = 64

/** A scenario. */
export function echo({ name, title, peers }) {
  return {
    name,
    title: `${title}, ${CONNECTIONS} connections, one in flight`,
    unit: 'messages/s',
    isHigherBetter: true,
    peers,
    async run(session) {
      await session.listen({ mode: 'echo' })
      await session.connect(CONNECTIONS)
      await session.load.call('echo', { text: session.wire(numbered(1, MESSAGE_BYTES)) })
      const window = await session.measure()
      return { value: window.framesPerSecond, framesPerRead: window.framesPerRead, ...cost(window, window.frames) }
    },
  }
}
