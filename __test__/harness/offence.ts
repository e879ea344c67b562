// What a client may not do, and what comes of it.
import type { ExecutionContext } from 'ava'
import { until } from './arrivals.js'
import { type Connection, connect } from './connect.js'
import type { Service } from './entrances.js'
import { Application } from './server.js'
import { frameBytes, OP, openUpgraded, type RawSocket } from './socket.js'

export interface Offence {
  /** What the offender sends once it has been greeted. */
  readonly bytes: Buffer | ((offender: RawSocket) => Promise<Buffer>)
  /** The query of its upgrade. */
  readonly query?: string
  /** The codes of the errors that it is told, in order. Default: none. */
  readonly told?: readonly string[]
  /** The code that it is closed with. Default: it goes on. */
  readonly code?: number
  /** What reaches the application nevertheless. Default: nothing. */
  readonly event?: 'bin'
}

/** Who does nothing wrong on an engine on which others do. */
export class Bystander {
  readonly #service: Service
  readonly #connection: Connection
  #published = 0

  private constructor(service: Service, connection: Connection) {
    this.#service = service
    this.#connection = connection
  }

  static async of(t: ExecutionContext, service: Service): Promise<Bystander> {
    const connection = await connect(t, service)
    await service.wse.subscribeConnection(connection.id, ['ticks'])
    return new Bystander(service, connection)
  }

  /** It gets each publication, in order, and an answer to each ping, for as long as `offence` lasts. */
  async during<T>(t: ExecutionContext, offence: Promise<T>): Promise<T> {
    let isOver = false
    const end = offence.finally(() => {
      isOver = true
    })
    const served = async () => {
      do {
        const n = this.#published++
        t.true(this.#service.wse.broadcast('ticks', { t: 'tick', p: { n } }))
        t.is((await this.#connection.next('tick')).p.n, n)
        await this.#connection.roundTrip()
      } while (!isOver)
    }
    const [outcome] = await Promise.all([end, served()])
    return outcome
  }
}

/** Commits an offence to its end, and returns what the offender was told: errors, then the code of the Close. */
export async function commit(offender: RawSocket, { bytes, told = [], code }: Offence): Promise<(string | number)[]> {
  offender.write(typeof bytes === 'function' ? await bytes(offender) : bytes)
  const heard: (string | number)[] = []
  while (heard.length < told.length) heard.push((await offender.envelope('error')).p.code as string)
  if (code === undefined) {
    // It is served like any other, and leaves when it wants to.
    offender.write(frameBytes(OP.text, '{"t":"ping","p":{}}'))
    await offender.envelope('PONG')
    offender.write(frameBytes(OP.close, Buffer.from([0x03, 0xe8])))
  }
  const close = await offender.closeFrame()
  if (code !== undefined && close.reason === '') throw new Error('closed without a reason')
  heard.push(close.code)
  await offender.ended()
  return heard
}

/** Nothing is left but `connections`: no byte that waits for anybody. */
export async function isClean(t: ExecutionContext, { wse }: Service, connections: number): Promise<void> {
  await until('the memory to come back', () => {
    const { totalBytes, waitingCommands } = wse.memory()
    return totalBytes === 0 && waitingCommands === 0
  })
  t.is(wse.getConnectionCount(), connections)
}

/** Commits offences, each on a connection of its own: it is told and closed as it should be, and nobody else is. */
export async function offend(t: ExecutionContext, service: Service, offences: readonly Offence[]): Promise<void> {
  const application = new Application(service.wse)
  const bystander = await Bystander.of(t, service)
  await application.next('connect')
  for (const offence of offences) {
    const { query = '', told = [], code = 1000, event } = offence
    const offender = await openUpgraded(t, service, { path: `/wse?${query}` })
    const { connId } = await application.next('connect')
    t.deepEqual(await bystander.during(t, commit(offender, offence)), [...told, code])
    if (event) await application.next(event, (each) => each.connId === connId)
    t.like(await application.next('disconnect'), { connId, code })
    await isClean(t, service, 1)
  }
  t.deepEqual(application.waiting, [])
}
