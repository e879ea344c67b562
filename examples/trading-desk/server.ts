/**
 * The trading desk as one service on one port: Express for the page and its API, the engine for everything live.
 *
 * Owns the wiring, the settings and the life of the process.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import express from 'express'
import { WseServer } from 'wse-server'
import { api } from './api.js'
import { Desk } from './desk.js'
import { EventLog } from './event-log.js'
import { Feed } from './feed.js'
import { MARKET_TOPIC, ordersTopic, Publisher } from './publisher.js'
import { Sessions, sessionSecret } from './session.js'

const folder = fileURLToPath(new URL('.', import.meta.url))
const { PORT = '8000', DESK_DATA = join(folder, 'data'), DESK_ROWS_PER_SECOND = '8', DESK_FROM } = process.env

const sessions = new Sessions(sessionSecret(DESK_DATA))
const wse = new WseServer({ jwt: sessions.jwt })
const publisher = new Publisher(wse)
const log = new EventLog(join(DESK_DATA, 'events.jsonl'))
const feed = new Feed({ rowsPerSecond: Number(DESK_ROWS_PER_SECOND), from: DESK_FROM })

// Before the desk, so that a client sees a price first and then what it filled.
feed.on('price', (price) => publisher.publishPrice(price))
feed.on('restart', (start) => publisher.publishRestart(start))
const desk = new Desk(log, feed)
log.onAppended((event) => publisher.publishEvent(event))

const app = express()
app.use(express.static(join(folder, 'public')))
app.use(sessions.router())
app.use('/api', sessions.requireUser, api(desk, feed, log))

const http = createServer(app)
wse.attach(http)
http.listen(Number(PORT))
await once(http, 'listening')
feed.start()
announce((http.address() as AddressInfo).port)

process.once('SIGTERM', stop)
process.once('SIGINT', stop)

for await (const batch of wse.drain()) {
  for (const event of batch) {
    if (event.type === 'auth_connect') void welcome(event.connId, event.userId)
  }
}

/** Subscribes a new connection, then tells it so: between the state that it fetches now and what follows is no hole. */
async function welcome(connId: string, userId: string): Promise<void> {
  const { success } = await wse.subscribeConnection(connId, [MARKET_TOPIC, ordersTopic(userId)])
  if (success) wse.sendEvent(connId, { t: 'desk_ready', p: {} })
}

/** Ends the feed, then HTTP, then the connections, and last the log, which nobody can write to any more. */
async function stop(): Promise<void> {
  feed.stop()
  const closed = once(http, 'close')
  http.close()
  await wse.close()
  http.closeAllConnections() // A browser may hold some on which it has asked nothing yet.
  await closed
  log.close()
}

function announce(port: number): void {
  const address = `localhost:${port}`
  console.log(`Trading desk: http://${address}

Sign in as anna, and as ben in a private window. No password: any name has an account of its own.

To watch anna's desk from a terminal:
  curl -s -c desk.cookies -d name=anna http://${address}/login
  TOKEN=$(curl -s -b desk.cookies http://${address}/api/token)
  npx -y wscat -c ws://${address}/wse -H "Authorization: Bearer $TOKEN"
`)
}
