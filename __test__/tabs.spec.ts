// Many tabs of one user: who gives way, and that nobody fights.
import test, { type ExecutionContext } from 'ava'
import { until } from './harness/arrivals.js'
import { type Connection, connect } from './harness/connect.js'
import { type RunningServer, startServer } from './harness/server.js'
import { secret, tokenOf } from './harness/tokens.js'

const LIMIT = 5

/** Connects again as soon as it is closed, whatever it is told, up to 20 times; what it was told, in order. */
function openTab(t: ExecutionContext, server: RunningServer, token: string): number[] {
  const codes: number[] = []
  const open = async () => {
    const { socket } = await connect(t, server, { token, greeted: false })
    socket.once('close', (code) => {
      if (codes.push(code) < 20 && server.isRunning()) void open()
    })
  }
  void open()
  return codes
}

test('lets six tabs that come back by themselves settle: one is replaced, and from then on replaces nobody', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  const token = await tokenOf('anna')
  const tabs: number[][] = []
  for (let n = 1; n <= LIMIT; n++) {
    tabs.push(openTab(t, server, token))
    await until(`tab ${n}`, () => server.getConnectionCount() === n)
  }
  tabs.push(openTab(t, server, token))
  await until('a tab that gives up', () => tabs.some((codes) => codes.length === 20))
  const [oldest, ...others] = tabs
  t.deepEqual(oldest, [4403, ...Array(19).fill(4429)], 'the oldest made room once, and was refused since')
  t.deepEqual(others, [[], [], [], [], []], 'the others have not been disturbed')
  t.is(server.sendToUser('anna', { t: 'note', p: {} }), LIMIT)
  await server.close()
})

test('with the policy refuse, disturbs none of the tabs that are there', async (t) => {
  const server = await startServer(t, { jwt: { secret }, connectionLimitPolicy: 'refuse' })
  const token = await tokenOf('anna')
  const tabs: Connection[] = []
  for (let n = 1; n <= LIMIT; n++) tabs.push(await connect(t, server, { token }))
  for (let n = 0; n < 10; n++) {
    const late = await connect(t, server, { token, greeted: false })
    t.is((await late.next('error')).p.code, 'CONNECTION_LIMIT')
    t.is((await late.closed()).code, 4429)
  }
  t.is(server.sendToUser('anna', { t: 'note', p: {} }), LIMIT)
  for (const tab of tabs) await tab.next('note')
  tabs[0]?.socket.terminate()
  await until('a free seat', () => server.getConnectionCount() === LIMIT - 1)
  await connect(t, server, { token })
})

test('ends all tabs of a user and nobody else', async (t) => {
  const server = await startServer(t, { jwt: { secret } })
  const tabs = await Promise.all([1, 2, 3].map(async () => connect(t, server, { token: await tokenOf('anna') })))
  const other = await connect(t, server, { token: await tokenOf('bert') })
  t.is(server.disconnectUser('anna', 4321, 'moved'), 3)
  for (const tab of tabs) t.deepEqual(await tab.closed(), { code: 4321, reason: 'moved' })
  t.is(server.disconnectUser('anna'), 0)
  await other.roundTrip()
})

test('ends a connection that is old in both versions of the protocol, and takes it back', async (t) => {
  const server = await startServer(t, { maxConnectionAgeMs: 300 })
  for (const version of [1, 2]) {
    for (let round = 0; round < 2; round++) {
      const connection = await connect(t, server, { path: `/wse?protocol_version=${version}` })
      t.is((await connection.closed()).code, 1012)
    }
  }
})
