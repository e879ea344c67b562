/**
 * What a connection is worth once something has answered: the upgrade, the greeting, messages, silence.
 *
 * @module
 */
import { setTimeout as delay } from 'node:timers/promises'
import { CLOSINGS, HELD_BACK, IDLE, NETWORK, upgradeCause } from './causes.js'
import { Client, type Closing, describe, type Envelope, Refusal, Silence } from './client.js'
import { clock, type Endpoint } from './endpoint.js'
import { codeOf, type Examination, type Finding, since } from './finding.js'
import type { Target } from './target.js'

const PINGS = 5
/** Between two pings, in milliseconds: so long that answers which come together were held back. */
const INTERVAL_MS = 100

/** Upgrade, greeting, messages and silence. `idleMs` zero: without silence. */
export async function* converse(target: Target, endpoint: Endpoint, idleMs: number): Examination<true> {
  const arrivals = new Map<number, number>()
  const onText = (_: string, envelope: Envelope | null) => {
    const { client_timestamp: n } = envelope?.t === 'PONG' ? envelope.p : {}
    if (typeof n === 'number') arrivals.set(n, performance.now())
  }
  const start = performance.now()
  let client: Client
  try {
    client = await Client.open(target, { onText })
  } catch (cause) {
    yield* refused(cause as Error, target, endpoint)
    return null
  }
  try {
    yield { step: 'upgrade', status: 'ok', text: `upgraded and greeted (${since(start)})` }
    yield* greeted(client)
    yield await exchange(client, arrivals, target.timeoutMs)
    if (idleMs === 0) yield { step: 'idle', status: 'skip', text: 'not asked for' }
    else yield await wait(client, idleMs)
    return true
  } finally {
    await client.close()
  }
}

function* refused(cause: Error, { token }: Target, { isEngine }: Endpoint): Generator<Finding> {
  const isUpgraded = cause instanceof Silence || (cause instanceof Refusal && cause.closing !== null)
  if (!isUpgraded) {
    const status = cause instanceof Refusal ? cause.status : 0
    const known = status > 0 ? upgradeCause(status, isEngine) : NETWORK[codeOf(cause)]
    const guess = known ?? 'what answers is no WebSocket server, or something between changes what it says'
    yield { step: 'upgrade', status: 'fail', text: cause.message, cause: guess }
    return
  }
  yield { step: 'upgrade', status: 'ok', text: 'upgraded' }
  const text = cause.message
  if (cause instanceof Silence) {
    const usual = `${HELD_BACK}; or the server's option envelope is false, and then there is no greeting`
    yield { step: 'greeting', status: 'fail', text, cause: usual }
    return
  }
  const { code = 1006 } = (cause as Refusal).closing ?? {}
  yield { step: 'greeting', status: 'fail', text, cause: code === 4401 ? tokenCause(token) : CLOSINGS[code] }
}

const tokenCause = (token: string | undefined): string =>
  token === undefined
    ? 'the server wants a token: --token or WSE_TOKEN; or a proxy drops the Authorization header or the cookie'
    : "the token has another secret, algorithm, iss or aud than the server's, or its time is over; " +
      '`wse-server token inspect` with the key of the server says which'

function* greeted({ greeting }: Client): Generator<Finding> {
  const details = (greeting.details ?? {}) as Record<string, unknown>
  const user = typeof details.user_id === 'string' ? `as the user ${details.user_id}` : 'as nobody'
  yield { step: 'greeting', status: 'ok', text: `connection ${details.connection_id}, ${user}` }
  const skewMs = Date.parse(String(details.server_time)) - Date.now()
  // The clock that tokens are held against is this one, whatever a proxy says.
  const finding = Number.isNaN(skewMs) ? null : clock(skewMs)
  if (finding && finding.status !== 'ok') yield finding
}

/** Whether what the server sends arrives when it is sent: some pings, and the times of their answers. */
async function exchange(client: Client, arrivals: Map<number, number>, timeoutMs: number): Promise<Finding> {
  const sent: number[] = []
  for (let timestamp = 0; timestamp < PINGS; timestamp++) {
    sent.push(performance.now())
    client.socket.send(JSON.stringify({ t: 'ping', p: { timestamp } }))
    await delay(INTERVAL_MS)
  }
  const expiry = performance.now() + timeoutMs
  while (arrivals.size < PINGS && performance.now() < expiry && client.socket.readyState === client.socket.OPEN) {
    await delay(INTERVAL_MS / 10)
  }
  const times = sent.flatMap((at, n) => (arrivals.has(n) ? [(arrivals.get(n) as number) - at] : []))
  if (times.length < PINGS) {
    const text = `${times.length} of ${PINGS} pings were answered`
    return { step: 'frames', status: 'fail', text, cause: HELD_BACK }
  }
  const [shortest, longest] = [Math.min(...times), Math.max(...times)]
  const text = `${PINGS} pings answered after ${shortest.toFixed(1)} to ${longest.toFixed(1)} ms`
  // The first waited for the last: they came together.
  const isHeldBack = longest - shortest > ((PINGS - 1) * INTERVAL_MS) / 2
  if (!isHeldBack) return { step: 'frames', status: 'ok', text }
  return { step: 'frames', status: 'warn', text: `${text}: answers come together`, cause: HELD_BACK }
}

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`

/** Whether the connection outlives its silence: until the server's own sign of life. */
async function wait(client: Client, idleMs: number): Promise<Finding> {
  const start = performance.now()
  let heard = start
  let longest = 0
  const hear = () => {
    longest = Math.max(longest, performance.now() - heard)
    heard = performance.now()
  }
  // What the application says ends the silence, but is no promise to end the next one.
  client.socket.on('message', hear)
  const giveUp = new AbortController()
  const heartbeat = new Promise<'heartbeat'>((resolve) => client.socket.once('ping', () => resolve('heartbeat')))
  const over = delay(idleMs, 'over' as const, { signal: giveUp.signal })
  const first: Closing | 'heartbeat' | 'over' = await Promise.race([heartbeat, client.closed, over])
  giveUp.abort()
  over.catch(() => {})
  client.socket.off('message', hear)
  const silenceMs = performance.now() - heard
  const took = performance.now() - start
  hear()
  const isBroken = longest < took / 2
  const never = `messages of the application left no silence of more than ${seconds(longest)}`
  if (first === 'heartbeat') {
    if (isBroken) return { step: 'idle', status: 'skip', text: `${never} before the heartbeat` }
    return { step: 'idle', status: 'ok', text: `lived through ${seconds(longest)} of silence, until the heartbeat` }
  }
  if (first === 'over') {
    const text = `no heartbeat within ${seconds(took)}${isBroken ? `; ${never}` : ''}`
    const cause = 'the heartbeat is longer (heartbeatIntervalMs) or off: then proxies cut whoever is silent'
    return { step: 'idle', status: 'warn', text, cause }
  }
  const cause = first.code === 1006 ? IDLE : CLOSINGS[first.code]
  return { step: 'idle', status: 'fail', text: `${describe(first)} after ${seconds(silenceMs)} of silence`, cause }
}
