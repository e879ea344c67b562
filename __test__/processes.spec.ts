import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import { until } from './harness/arrivals.js'
import { type Child, runProgram } from './harness/child.js'
import { type Connection, connect } from './harness/connect.js'
import { frameBytes, OP, openSocket, upgradeRequest } from './harness/socket.js'

const json = async (child: Child) => JSON.parse(await child.nextLine())

/** Asks which worker serves the connection. */
async function workerOf(connection: Connection): Promise<unknown> {
  connection.send({ t: 'who', p: {} })
  return (await connection.next('done')).p.worker
}

const count = (text: string, part: string) => text.split(part).length - 1

for (const [scheduling, title] of [
  ['rr', 'SCHED_RR'],
  ['none', 'SCHED_NONE'],
] as const) {
  test.serial(`serves clients in every worker of a cluster with ${title}, and ends with it`, async (t) => {
    const child = runProgram(t, 'cluster', [scheduling, 'attach'])
    const [{ port }] = [await json(child), await json(child)]
    const connections = await Promise.all(Array.from({ length: 16 }, () => connect(t, { port })))
    const workers = await Promise.all(connections.map(workerOf))
    t.true(workers.every((worker) => worker === 1 || worker === 2))
    // Only the round robin promises that both get some.
    if (scheduling === 'rr') t.is(new Set(workers).size, 2)

    const early = Array.from({ length: 1_000 }, (_, n) => frameBytes(OP.text, JSON.stringify({ t: 'early', p: { n } })))
    const socket = await openSocket(t, { port })
    socket.write(Buffer.concat([Buffer.from(upgradeRequest()), ...early]))
    for (let n = -1; n < 1_000; n++) {
      const { payload } = await socket.next(OP.text)
      if (n >= 0) t.is(JSON.parse(payload.toString()).p.n, n)
    }
    socket.tcp.destroy()

    child.say('stop')
    for (const connection of connections) t.is((await connection.closed()).code, 1012)
    const { code, errors } = await child.exited()
    t.is(code, 0)
    t.is(count(errors, 'WseClusterWarning'), 2, errors)
  })
}

test.serial('publishes to the connections of one cluster worker only', async (t) => {
  const child = runProgram(t, 'cluster', ['rr', 'attach'])
  const [{ port }] = [await json(child), await json(child)]
  const connections = await Promise.all(Array.from({ length: 8 }, () => connect(t, { port })))
  const workers = await Promise.all(connections.map(workerOf))
  connections[0]?.send({ t: 'publish', p: { news: 1 } })
  for (const [index, connection] of connections.entries()) {
    if (workers[index] === workers[0]) t.is((await connection.next('news')).p.news, 1)
    else {
      await workerOf(connection)
      t.deepEqual(connection.waiting, [])
    }
  }
})

test.serial('loses the connections of a cluster worker that is killed, and no others', async (t) => {
  const child = runProgram(t, 'cluster', ['rr', 'attach'])
  const [{ port }] = [await json(child), await json(child)]
  const connections = await Promise.all(Array.from({ length: 8 }, () => connect(t, { port })))
  const workers = await Promise.all(connections.map(workerOf))
  child.say('kill')
  for (const [index, connection] of connections.entries()) {
    if (workers[index] === 1) t.is((await connection.closed()).code, 1006)
  }
  for (const [index, connection] of connections.entries()) if (workers[index] === 2) await connection.roundTrip()
  t.deepEqual(await json(child), { lost: 1 })
  t.is(await workerOf(await connect(t, { port })), 2)
})

test.serial('says to the second cluster worker that its own port is in use', async (t) => {
  const port = await freePort()
  const child = runProgram(t, 'cluster', ['rr', 'listen', String(port)])
  const answers = [await json(child), await json(child)]
  t.deepEqual(new Set(answers.map((answer) => answer.port ?? answer.code)), new Set([port, 'WSE_LISTEN_FAILED']))
  await (await connect(t, { port })).roundTrip()
})

test.serial('gives each cluster worker a port of its own when it is asked for any', async (t) => {
  const child = runProgram(t, 'cluster', ['rr', 'listen', '0'])
  const answers = [await json(child), await json(child)]
  for (const { port, worker } of answers) t.is(await workerOf(await connect(t, { port })), worker)
})

test.serial(
  'ends with its worker thread under load, leaves the main thread alone and gives descriptors back',
  async (t) => {
    const child = runProgram(t, 'worker')
    const countDescriptors = async () => {
      child.say('count')
      return (await json(child)).descriptors as number
    }
    const before = await countDescriptors()
    for (let round = 0; round < 3; round++) {
      child.say('start')
      const { ports } = await json(child)
      const connections = await floodedBy(t, ports)
      child.say('terminate')
      t.is((await json(child)).code, 1)
      await allEnd(t, connections)
    }
    // The engines' own threads end what they still have by themselves, two seconds later at most.
    await until('the descriptors to be given back', async () => (await countDescriptors()) <= before)
    child.say('stop')
    t.like(await child.exited(), { code: 0, errors: '' })
  },
)

test.serial('keeps the code of process.exit under load', async (t) => {
  const child = runProgram(t, 'ending', ['exit'])
  const connections = await floodedBy(t, await json(child))
  t.deepEqual(await child.exited(), { code: 7, signal: null, errors: '' })
  await allEnd(t, connections)
})

for (const [way, title, message] of [
  ['exception', 'an exception', /Error: a fault of the host/],
  ['rejection', 'a rejection', /Error: a promise of the host/],
] as const) {
  test.serial(`ends like any process on ${title} that nobody caught, with the message and code 1`, async (t) => {
    const child = runProgram(t, 'ending', [way])
    const connections = await floodedBy(t, await json(child))
    const { code, signal, errors } = await child.exited()
    t.deepEqual([code, signal], [1, null])
    t.regex(errors, message)
    await allEnd(t, connections)
  })
}

test.serial('leaves its port to the next process when it is killed under load', async (t) => {
  const killed = runProgram(t, 'ending', ['kill'])
  const ports = await json(killed)
  const connections = await floodedBy(t, ports)
  t.is((await killed.exited()).signal, 'SIGKILL')
  await allEnd(t, connections)
  const next = runProgram(t, 'ending', ['never', String(ports[0])])
  t.is((await json(next))[0], ports[0])
  await (await connect(t, { port: ports[0] })).roundTrip()
})

test.serial('pings and answers while JavaScript stands still, and hands over afterwards what came', async (t) => {
  const child = runProgram(t, 'blocked')
  const [own, attached, streams] = await json(child)
  const waiting = await connect(t, { port: streams })
  const connections = [await connect(t, { port: own }), await connect(t, { port: attached })]
  connections[0]?.send({ t: 'block', p: {} })
  await child.nextLine((line) => line === 'blocked')
  // A port of its own takes new connections too; on a host it is Node.js that accepts them.
  connections.push(await connect(t, { port: own }))
  // A connection on streams is served by JavaScript: it waits, and what it sends waits too.
  for (let n = 0; n < 100; n++) waiting.send({ t: 'chat', p: { n } })

  for (const connection of connections) {
    for (let n = 0; n < 100; n++) connection.send({ t: 'chat', p: { n } })
    await connection.roundTrip()
  }
  // Silent for two seconds, twice the idle limit: they live by their pongs.
  for (let n = 0; n < 8; n++) await Promise.all(connections.map((connection) => connection.nextControl('ping')))
  for (const connection of connections) {
    await connection.roundTrip()
    t.deepEqual(connection.waiting, [], 'the host was still blocked')
  }
  t.deepEqual(waiting.waiting, [])

  child.say('free')
  for (const connection of [...connections, waiting]) {
    await connection.next('free')
    for (let n = 0; n < 100; n++) t.is((await connection.next('chat')).p.n, n)
  }
})

/** Two connections to each port, which send without end until they are closed. */
async function floodedBy(t: ExecutionContext, ports: number[]): Promise<Connection[]> {
  const connections = await Promise.all([...ports, ...ports].map((port) => connect(t, { port })))
  for (const { socket } of connections) {
    const padding = 'x'.repeat(200)
    const flood = () => {
      for (let n = 0; n < 50; n++) socket.send(JSON.stringify({ t: 'chat', p: { n, padding } }))
      if (socket.readyState === socket.OPEN) setImmediate(flood)
    }
    flood()
  }
  return connections
}

/** Every connection is told of the restart, or cut. */
async function allEnd(t: ExecutionContext, connections: Connection[]): Promise<void> {
  for (const connection of connections) t.true([1006, 1012].includes((await connection.closed()).code))
}

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
