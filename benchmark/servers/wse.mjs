/**
 * The benchmark's application on wse-server: its own port, or with `host` the port of an HTTP server.
 */
import { inspect } from 'node:util'
import { WseServer } from 'wse-server'
import { versionsOf } from '../versions.mjs'
import { Application } from './application.mjs'
import { hostOf, listenOn } from './hosts.mjs'
import { numbered } from './message.mjs'

/** Messages that one connection's queue may hold before the sender waits, as for the other servers. */
const MAX_QUEUED = 64
let wse
/** Turns that the sender may be ahead of the engine's threads. */
let ahead
/** The method that publishes. */
let method

await new Application({
  open,
  subscribers: () => wse.getTopicSubscriberCount('bench'),
  publish: (text) => wse[method]('bench', text),
  backlog(perTurn) {
    const { waitingCommands, longestOutboundMessages } = wse.memory()
    return Math.max(waitingCommands / (ahead * perTurn), longestOutboundMessages / MAX_QUEUED)
  },
  now: () => process.hrtime.bigint(),
  collect: () => globalThis.gc(),
  rejoin,
  log,
  logBytes: () => wse.memory().logBytes,
}).run()

/** `call`: the method that publishes; `settings`: options of the server beside those of all rows. */
async function open(
  { mode, envelope, settings, call = 'broadcast', jwt, host, via, tls, aheadTurns = 1 },
  application,
) {
  ahead = aheadTurns
  method = call
  wse = new WseServer({
    envelope,
    rateLimit: false,
    maxConnections: 20_000,
    ...settings,
    ...(jwt && { jwt }),
  })
  const { port, versions } = host ? await attach(host, via, tls) : await listen(tls)
  serve(mode, application)
  return {
    port,
    path: '/wse',
    greeting: envelope ? 1 : 0,
    versions: { ...versions, ...versionsOf('wse-server') },
    options: `envelope: ${envelope}, rateLimit: false, maxConnections: 20000${via ? `, via: ${via}` : ''}${settings ? `, ${inspect(settings)}` : ''}`,
  }
}

async function listen(tls) {
  const { port } = await wse.listen({ host: '127.0.0.1', port: 0, tls })
  return { port }
}

async function attach(host, via, tls) {
  const { http, versions } = await hostOf(host, tls)
  wse.attach(http, { via })
  return { port: await listenOn(http), versions }
}

async function rejoin(ms) {
  const users = wse.getConnections()
  const end = performance.now() + ms
  let joins = 0
  for (; performance.now() < end; joins += users.length) {
    await Promise.all(
      users.map((connId) => {
        wse.unsubscribeConnection(connId, ['room'])
        return wse.subscribeConnection(connId, ['room'], { status: 'here' })
      }),
    )
  }
  return joins
}

/** Publishes `each` messages to so many topics, `log-0` and on; resolves to their epochs. */
async function log({ topics, each, bytes }) {
  const epochs = {}
  for (let number = 0; number < topics; number++) {
    const topic = `log-${number}`
    for (let message = 0; message < each; message++) {
      epochs[topic] = (await wse.publish(topic, numbered(message, bytes))).epoch
    }
  }
  return epochs
}

async function serve(mode, application) {
  for await (const batch of wse.drain()) {
    for (const event of batch) {
      if (event.type === 'msg') {
        if (mode === 'echo') wse.send(event.connId, event.text)
        else application.receive(event.text)
      } else if (mode !== 'churn' && (event.type === 'connect' || event.type === 'auth_connect')) {
        wse.subscribeConnection(event.connId, ['bench'])
      }
    }
  }
}
