/**
 * What compression costs and saves: `node benchmark/compression.mjs`, after `npm run build`.
 *
 * A server with one shard publishes a JSON object of 2.6 KB, in which one number changes, to one connection and to 500.
 * Counted are the server's memory before and after, its processor time, and the bytes that its clients read. Prints a
 * table and writes it to `results/compression/`.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { constants, deflateRawSync } from 'node:zlib'
import { describeMachine } from './machine.mjs'
import { cpuTime, residentMemory } from './process-usage.mjs'

const CROWD = 500
const PUBLICATIONS = 400
const OFFER = 'Sec-WebSocket-Extensions: permessage-deflate\r\n'
const rows = Array.from({ length: 40 }, (_, n) => ({
  symbol: `SYM${(n * 7_919) % 971}`,
  price: ((n * 104_729) % 100_003) / 100,
  change: ((n * 31_337) % 2_003) / 100,
  volume: (n * 1_299_709) % 1_000_003,
}))
const event = (number) => JSON.stringify({ t: 'portfolio', p: { number, rows } })

const ways = [
  { name: 'none', options: {}, query: '', head: '' },
  { name: 'compression', options: {}, query: '?compression=true', head: '' },
  { name: 'perMessageDeflate', options: { perMessageDeflate: true }, query: '', head: OFFER },
  {
    name: 'perMessageDeflate with context takeover',
    options: { perMessageDeflate: { serverContextTakeover: true, clientContextTakeover: true } },
    query: '',
    head: OFFER,
  },
]

if (process.send) await serve(JSON.parse(process.argv[2]))
else await main()

async function main() {
  const results = []
  for (const way of ways) {
    const [one, crowd] = [await measure(way, 1), await measure(way, CROWD)]
    results.push({
      name: way.name,
      bytesAMessage: Math.round(one.bytes),
      microsecondsForOne: Math.round(one.microseconds),
      microsecondsForEachOfCrowd: tenths(crowd.microseconds / CROWD),
      kibibytesAConnection: tenths(crowd.kibibytes),
    })
  }
  console.table(results)
  const folder = new URL('results/compression/', import.meta.url)
  mkdirSync(folder, { recursive: true })
  const versions = { node: process.versions.node, publications: PUBLICATIONS, crowd: CROWD, bytes: event(0).length }
  const text = JSON.stringify(
    { command: 'node benchmark/compression.mjs', machine: describeMachine(), versions, results },
    null,
    2,
  )
  writeFileSync(new URL(`${new Date().toISOString().slice(0, 10)}.json`, folder), `${text}\n`)
}

function tenths(value) {
  return Math.round(value * 10) / 10
}

/** One server with `connections` clients, each of which also sends one message in the way that it speaks. */
async function measure({ options, query, head }, connections) {
  const child = fork(import.meta.filename, [JSON.stringify(options)])
  const ask = async (question) => {
    child.send(question)
    return (await once(child, 'message'))[0]
  }
  const [port] = await once(child, 'message')
  const before = residentMemory(child.pid).bytes
  let bytes = 0
  const sockets = []
  for (let n = 0; n < connections; n++) {
    const socket = connect(port, '127.0.0.1')
    sockets.push(socket)
    socket.write(
      `GET /wse${query} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n${head}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
    )
    await once(socket, 'data')
    if (head) socket.write(compressed(event(n)))
    socket.on('data', (chunk) => {
      bytes += chunk.length
    })
  }
  await ask(20)
  await pause(500)
  const [cpu, read] = [cpuTime(child.pid).totalUs, bytes]
  await ask(PUBLICATIONS)
  await pause(500)
  const microseconds = (cpuTime(child.pid).totalUs - cpu) / PUBLICATIONS
  const kibibytes = (residentMemory(child.pid).bytes - before) / 1_024 / connections
  child.kill()
  for (const socket of sockets) socket.destroy()
  return { bytes: (bytes - read) / connections / PUBLICATIONS, microseconds, kibibytes }
}

/** A text as a client compresses it, under a mask of zero. */
function compressed(text) {
  const payload = deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4)
  const header = Buffer.from([0xc1, 0x80 | 126, 0, 0, 0, 0, 0, 0])
  header.writeUInt16BE(payload.length, 2)
  return Buffer.concat([header, payload])
}

/** The server: publishes as often as it is told to, and answers once everything has left. */
async function serve(options) {
  const { WseServer } = await import('wse-server')
  const server = new WseServer({ ...options, shards: 1 })
  server.setCallbacks({})
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
  process.send(port)
  let number = 1_000_000
  process.on('message', async (count) => {
    for (let n = 0; n < count; n++) {
      server.broadcastAll(event(number++))
      await pause(2)
    }
    while (server.memory().totalBytes > 0) await pause(2)
    process.send(count)
  })
}
