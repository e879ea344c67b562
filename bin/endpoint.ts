/**
 * What answers at the address, in plain HTTP: the health of the engine, and the clock of whoever answers.
 *
 * @module
 */
import { once } from 'node:events'
import { get as getPlain, type IncomingMessage } from 'node:http'
import { get as getEncrypted } from 'node:https'
import type { Socket } from 'node:net'
import { NETWORK } from './causes.js'
import { codeOf, type Examination, type Finding, since } from './finding.js'
import { LEEWAY_SECONDS } from './jwt.js'
import { type Target, trustOf } from './target.js'

export interface Endpoint {
  /** The engine answered its health: the path is right. */
  readonly isEngine: boolean
  /** How far the clock of whoever answered is ahead of ours. */
  readonly skewMs: number
}

/** A health is small; what is larger is none. */
const MAX_BYTES = 65_536

/** Asks for the health beside the socket. */
export async function* ask(target: Target): Examination<Endpoint> {
  const url = new URL(target.url)
  url.protocol = url.protocol === 'wss:' ? 'https:' : 'http:'
  url.pathname = `${url.pathname.replace(/\/$/, '')}/health`
  url.search = ''
  const timeout = AbortSignal.timeout(target.timeoutMs)
  const start = performance.now()
  const asked = Date.now()
  let response: IncomingMessage
  try {
    response = await answer(url, target, timeout)
  } catch (cause) {
    yield unanswered(codeOf(cause))
    return null
  }
  // A date has whole seconds: in the middle it is off by half of one at most.
  const now = (asked + Date.now()) / 2 - 500
  const { statusCode = 0, headers } = response
  const by = headers.server === undefined ? '' : `, by ${headers.server}`
  const text = `${url.pathname} answered with ${statusCode}${by} (${since(start)})`
  let isEngine = false
  try {
    const health = healthOf(await bodyOf(response))
    isEngine = health !== null
    yield found(text, statusCode, health)
  } catch (cause) {
    yield broken(text, timeout.aborted ? 'stands still' : `is cut: ${codeOf(cause)}`)
  }
  const skewMs = Date.parse(headers.date ?? '') - now
  // A cache gives the date at which it got what it answers with.
  const isCached = headers.age !== undefined
  if (isCached || Number.isNaN(skewMs)) {
    yield { step: 'clock', status: 'skip', text: isCached ? 'the answer is that of a cache' : 'the answer has no date' }
    return { isEngine, skewMs: 0 }
  }
  yield clock(skewMs)
  return { isEngine, skewMs }
}

function unanswered(code: string): Finding {
  const unparsed = code.startsWith('HPE_') ? 'what listens there speaks no HTTP, or wants TLS (wss://)' : undefined
  const silent = code === 'ABORT_ERR' ? 'what listens there says nothing: it may want TLS (wss://)' : undefined
  return { step: 'http', status: 'fail', text: `no answer: ${code}`, cause: unparsed ?? silent ?? NETWORK[code] }
}

/** Somebody answered in HTTP, and that somebody may upgrade well: it is too early for a verdict. */
function broken(text: string, how: string): Finding {
  const cause = 'something before the server holds its answers back or ends them, or the path is of a stream'
  return { step: 'http', status: 'warn', text: `${text}, and the rest ${how}`, cause }
}

/** What a clock that is `skewMs` ahead of ours means for tokens. */
export function clock(skewMs: number): Finding {
  const seconds = Math.abs(skewMs / 1_000)
  if (seconds < 2) return { step: 'clock', status: 'ok', text: 'the clocks agree' }
  const text = `the server's clock is ${seconds.toFixed(0)} s ${skewMs > 0 ? 'ahead of' : 'behind'} this machine's`
  const cause =
    `a machine without time synchronisation (NTP); tokens are forgiven ${LEEWAY_SECONDS} s (jwt.leewaySeconds), beyond ` +
    'that they look expired, or not good yet'
  return { step: 'clock', status: seconds > LEEWAY_SECONDS ? 'fail' : 'warn', text, cause }
}

function found(text: string, status: number, health: Health | null): Finding {
  if (!health) {
    const cause = 'the path is another one, or something before the server answers in its place'
    return { step: 'http', status: 'warn', text: `${text}, which is no wse-server`, cause }
  }
  const state = `a wse-server with ${health.connections} connections, up for ${health.uptime_secs.toFixed(0)} s`
  if (status === 503) return { step: 'http', status: 'warn', text: `${text}: ${state}, closing` }
  return { step: 'http', status: 'ok', text: `${text}: ${state}` }
}

interface Health {
  readonly connections: number
  readonly uptime_secs: number
}

function healthOf(body: string): Health | null {
  try {
    const health = JSON.parse(body) as Partial<Health> | null
    const { connections, uptime_secs } = health ?? {}
    return typeof connections === 'number' && typeof uptime_secs === 'number' ? { connections, uptime_secs } : null
  } catch {
    // A page of somebody else.
    return null
  }
}

async function answer(url: URL, target: Target, signal: AbortSignal): Promise<IncomingMessage> {
  // A cache is to ask as well.
  const options = { headers: { 'cache-control': 'no-cache', ...target.headers }, signal, agent: false } as const
  const isEncrypted = url.protocol === 'https:'
  const request = isEncrypted ? getEncrypted(url, { ...options, ...trustOf(target) }) : getPlain(url, options)
  // A server that upgrades everything answers too; without a listener nothing would come, not even a fault.
  const upgraded = once(request, 'upgrade').then(([response, socket]) => {
    ;(socket as Socket).destroy()
    return response as IncomingMessage
  })
  const answered = once(request, 'response').then(([response]) => response as IncomingMessage)
  return Promise.race([upgraded, answered])
}

async function bodyOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of response) {
    chunks.push(chunk as Buffer)
    length += (chunk as Buffer).length
    // Leaving the loop ends the response: what is so large is not ours.
    if (length > MAX_BYTES) return ''
  }
  return Buffer.concat(chunks).toString()
}
