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

/** Connects, subscribes, has something published, hears of it, and breaks off. */
function live(port: number, n: number): Promise<void> {
  const topic = `topic:${n % 500}`
  const life = new Promise<void>((resolve) => {
    const reader = new Reader(port, {
      says: [subscribing([topic]), { t: topic, p: { n } }],
      // One address has too few ports.
      localAddress: `127.0.0.${1 + (n % 8)}`,
      onMessage: (payload) => {
        if (!payload.includes(`"n":${n}}`)) return
        reader.cut()
        resolve()
      },
    })
  })
  return within(life, `life ${n}`)
}

test('has its descriptors and memory back after 100 000 lives', (t) =>
  comesBack(t, starts['on its own port'], (port, isFirst) => inLanes(isFirst ? 20_000 : 80_000, (n) => live(port, n))))
