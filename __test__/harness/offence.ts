// What a client may not do, and what comes of it.
import type { ExecutionContext } from 'ava'
import { connect } from './connect.js'
import type { Service } from './entrances.js'
import { Application } from './server.js'
import { openUpgraded } from './socket.js'

/** Commits offences, each on a connection of its own: it is closed with its code and a reason, and nobody else is. */
export async function offend(
  t: ExecutionContext,
  service: Service,
  offences: readonly (readonly [bytes: Buffer, code: number])[],
): Promise<void> {
  const application = new Application(service.wse)
  const healthy = await connect(t, service)
  await application.next('connect')
  for (const [bytes, code] of offences) {
    const offender = await openUpgraded(t, service)
    const { connId } = await application.next('connect')
    offender.write(bytes)
    const close = await offender.closeFrame()
    t.is(close.code, code)
    t.not(close.reason, '')
    await offender.ended()
    t.like(await application.next('disconnect'), { connId, code })
    await healthy.roundTrip()
  }
  t.deepEqual(application.waiting, [])
}
