// Several shards: whoever a connection was dealt to, it is part of the same server.
import test from 'ava'
import { connect } from './harness/connect.js'
import { startServer } from './harness/server.js'

// Up to three shards share one listener, which deals; from four on each has its own, on the same port.
for (const shards of [1, 2, 3, 4, 6]) {
  test(`reaches every connection on ${shards} shards, and closes them all`, async (t) => {
    const server = await startServer(t, { shards })
    const connections = await Promise.all(Array.from({ length: 24 }, () => connect(t, server)))
    await Promise.all(connections.map(({ id }) => server.subscribeConnection(id, ['news'])))
    t.is(server.getTopicSubscriberCount('news'), 24)
    t.is(new Set(server.getConnections()).size, 24)

    server.broadcast('news', { t: 'published' })
    server.broadcastAll(JSON.stringify({ t: 'all' }))
    for (const connection of connections) {
      server.sendEvent(connection.id, { t: 'unicast' })
      await connection.next('published')
      await connection.next('all')
      await connection.next('unicast')
    }

    await server.close()
    for (const connection of connections) t.is((await connection.closed()).code, 1012)
  })
}
