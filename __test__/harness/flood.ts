// More messages than a host can deal with in one turn.
import type { ExecutionContext } from 'ava'
import { within } from './arrivals.js'
import { connect } from './connect.js'
import type { RunningServer } from './server.js'

export const FLOOD = 50_000

/** Sends {@link FLOOD} messages; how often the host had a turn for something else until `isSeen` resolves. */
export async function turnsDuringFlood(
  t: ExecutionContext,
  server: RunningServer,
  isSeen: Promise<void>,
  message: string | object = 'x',
): Promise<number> {
  let turns = 0
  const ticking = setInterval(() => {
    turns += 1
  }, 1)
  t.teardown(() => clearInterval(ticking))
  const connection = await connect(t, server)
  for (let n = 0; n < FLOOD; n++) connection.send(message)
  await within(isSeen, 'all messages')
  return turns
}
