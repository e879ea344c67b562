import { connect as connectTcp } from 'node:net'
import test from 'ava'
import { within } from './harness/arrivals.js'
import { Reader, subscribing } from './harness/reader.js'
import { frameBytes, OP, RawSocket, upgradeRequest } from './harness/socket.js'
import { comesBack, inLanes, starts } from './harness/weight.js'

/** Connects and closes, with the whole close handshake. */
async function comeAndGo(port: number): Promise<void> {
  const socket = new RawSocket(connectTcp({ host: '127.0.0.1', port }))
  socket.write(upgradeRequest())
  await socket.next(OP.text)
  socket.write(frameBytes(OP.close, Buffer.from([0x03, 0xe8])))
  await socket.ended()
}

test('has its descriptors and memory back after 7 500 connects and closes on its own port', (t) =>
  comesBack(t, starts['on its own port'], (port) => inLanes(7_500, () => comeAndGo(port))))

test('has its descriptors and memory back after 4 000 connects and closes on a host', (t) =>
  comesBack(t, starts['on a host'], (port) => inLanes(4_000, () => comeAndGo(port))))

/** What a life of a service's client has to do with: a hook for each question, tickets, logs, and who is there. */
const service = `{
  authenticate: ({ headers }) => ({ userId: headers['x-user'] }),
  authorize: (_, topics) => topics,
  maxConnectionsPerUser: 0,
  presence: true,
  recovery: { slots: 4 },
}`

/** Tickets of lives before, one for each of those who live at once. */
const tickets: string[] = []
/** Where lives before ended, by topic. */
const places = new Map<string, object>()

/**
 * Connects, every other time by the ticket of a life before, and is given another; is present in a topic from where the
 * one before ended, has something published, hears of it, and breaks off.
 */
function live(port: number, n: number): Promise<void> {
  const topic = `topic:${n % 500}`
  const ticket = n % 2 === 0 ? undefined : tickets.pop()
  const user = { 'X-User': `user ${n % 5_000}` }
  const headers = ticket ? { 'Sec-WebSocket-Protocol': `wse.v2, wse.ticket.${ticket}` } : user
  const place = places.get(topic)
  const asked = { recover: true, recovery: place ? { [topic]: place } : {}, presence: { n } }
  const life = new Promise<void>((resolve, reject) => {
    const reader = new Reader(port, {
      request: { headers },
      says: [{ t: 'client_hello' }, subscribing([topic], asked)],
      // One address has too few ports.
      localAddress: `127.0.0.${1 + (n % 8)}`,
      onMessage: (payload) => {
        const { t: type, p, e: epoch, o: offset } = JSON.parse(payload.toString())
        if (type === 'error') reject(new Error(payload.toString()))
        else if (type === 'server_hello') tickets.push(p.resume_ticket)
        else if (type === 'subscription_update') reader.send({ t: topic, p: { n } })
        else if (type === topic && p.n === n) {
          places.set(topic, { epoch, offset })
          reader.cut()
          resolve()
        }
      },
    })
  })
  return within(life, `life ${n}`)
}

test('has its descriptors and memory back after 100 000 lives', (t) => {
  const act = (port: number, isFirst: boolean) => inLanes(isFirst ? 20_000 : 80_000, (n) => live(port, n))
  return comesBack(t, starts['on its own port'], act, service)
})
