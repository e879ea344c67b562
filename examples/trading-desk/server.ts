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
import express, { type Router } from 'express'
import { WseServer } from 'wse-server'
import { api } from './api.js'
import { type Database, openDatabase } from './database.js'
import { Desk } from './desk.js'
import { Feed } from './feed.js'
import { History } from './history.js'
import { MARKET_TOPIC, ordersTopic, Publisher } from './publisher.js'
import { Sessions, sessionSecret } from './session.js'

const folder = fileURLToPath(new URL('.', import.meta.url))
const { PORT = '8000', DESK_ROWS_PER_SECOND = '8', DESK_FROM } = process.env
const data = process.env.DESK_DATA || undefined

const sessions = new Sessions(sessionSecret(data))
const wse = new WseServer({ jwt: sessions.jwt })
const publisher = new Publisher(wse)
const opening = open()

const app = express()
app.use(express.static(join(folder, 'public')))
app.use(sessions.router())
app.use('/api', sessions.requireUser, async (request, response, next) => {
  const { routes } = await opening
  routes(request, response, next)
})

const http = createServer(app)
wse.attach(http)
http.listen(Number(PORT))
await once(http, 'listening')
announce((http.address() as AddressInfo).port)

// The address is there at once. Whoever connects meanwhile waits for `desk_ready`, which waits for the database.
const { database, feed, desk } = await opening
const stopped = new AbortController()
process.once('SIGTERM', stop)
process.once('SIGINT', stop)
await Promise.all([play(), serve()])

async function open(): Promise<{ database: Database; feed: Feed; desk: Desk; routes: Router }> {
  const database = await openDatabase(data && join(data, 'database'))
  const history = new History(database)
  const rowsPerSecond = Number(DESK_ROWS_PER_SECOND)
  const feed = new Feed({ rowsPerSecond, from: DESK_FROM, behind: await history.lastRow() })
  const desk = new Desk(database, feed, (event) => publisher.publish(event))
  await desk.catchUp()
  return { database, feed, desk, routes: api(desk, history) }
}

/** Plays the market: the next row waits until the desk has dealt with this one. */
async function play(): Promise<void> {
  for await (const price of feed.play(stopped.signal)) await desk.price(price)
}

async function serve(): Promise<void> {
  for await (const batch of wse.drain()) {
    for (const event of batch) {
      if (event.type === 'auth_connect') void welcome(event.connId, event.userId)
    }
  }
}

/** Subscribes a new connection, then tells it so: between the state that it fetches now and what follows is no hole. */
async function welcome(connId: string, userId: string): Promise<void> {
  const { success } = await wse.subscribeConnection(connId, [MARKET_TOPIC, ordersTopic(userId)])
  if (success) wse.sendEvent(connId, { t: 'desk_ready', p: {} })
}

/** Ends the feed, then HTTP, then the connections, and last the database, which nobody asks any more. */
async function stop(): Promise<void> {
  stopped.abort()
  const closed = once(http, 'close')
  http.close()
  await wse.close()
  http.closeAllConnections() // A browser may hold some on which it has asked nothing yet.
  await closed
  await desk.settled()
  await database.close()
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
