/**
 * The way to the server, below HTTP: the name, the connection, the certificate.
 *
 * @module
 */
import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import { connect, isIP, type Socket } from 'node:net'
import { connect as connectTls, type DetailedPeerCertificate, type TLSSocket } from 'node:tls'
import { CERTIFICATE, NETWORK } from './causes.js'
import { codeOf, type Examination, type Finding, since } from './finding.js'
import { type Target, trustOf } from './target.js'

/** Days before its end from which a certificate is worth a word. */
const FEW_DAYS = 14

/** Name, TCP and TLS. At the end it is known that something is there to be spoken with. */
export async function* reach(target: Target): Examination<true> {
  const { url } = target
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const isEncrypted = url.protocol === 'wss:'
  const port = Number(url.port) || (isEncrypted ? 443 : 80)

  const addresses = yield* resolve(host)
  if (addresses === null) return null
  const address = yield* open(addresses, port, target.timeoutMs)
  if (address === null) return null
  if (isEncrypted) return yield* encrypt(target, host, address, port)
  yield { step: 'tls', status: 'skip', text: 'plain text: ws://' }
  return true
}

async function* resolve(host: string): Examination<string[]> {
  const start = performance.now()
  if (isIP(host)) {
    yield { step: 'name', status: 'skip', text: `${host} is an address` }
    return [host]
  }
  try {
    const found = (await lookup(host, { all: true })).map(({ address }) => address)
    yield { step: 'name', status: 'ok', text: `${host} is ${found.join(', ')} (${since(start)})` }
    return found
  } catch (cause) {
    const code = codeOf(cause)
    yield { step: 'name', status: 'fail', text: `${host} has no address: ${code}`, cause: NETWORK[code] }
    return null
  }
}

/** Tries every address, because clients differ in which they take first. */
async function* open(addresses: string[], port: number, timeoutMs: number): Examination<string> {
  const tries = await Promise.all(
    addresses.map(async (address) => {
      const start = performance.now()
      const socket = connect({ host: address, port })
      const fault = await settled(socket, 'connect', timeoutMs)
      socket.destroy()
      return { address, fault, time: since(start) }
    }),
  )
  const good = tries.find(({ fault }) => fault === null)
  const bad = tries.filter(({ fault }) => fault !== null)
  const faults = bad.map(({ address, fault }) => `${address}: ${fault}`).join(', ')
  const cause = NETWORK[bad[0]?.fault ?? '']
  if (!good) {
    yield { step: 'tcp', status: 'fail', text: `no connection to port ${port}; ${faults}`, cause }
    return null
  }
  const text = `${good.address} port ${port} (${good.time})`
  // A loopback name has two addresses, and servers that have one of them are usual.
  const isLocal = bad.every(({ address }) => /^(127\.|::1$)/.test(address))
  if (isLocal) yield { step: 'tcp', status: 'ok', text }
  else yield { step: 'tcp', status: 'warn', text: `${text}, but not ${faults}: clients that try it wait`, cause }
  return good.address
}

async function* encrypt(target: Target, host: string, address: string, port: number): Examination<true> {
  const start = performance.now()
  const socket = connectTls({
    host: address,
    port,
    ...(!isIP(host) && { servername: host }),
    ...trustOf(target),
    ALPNProtocols: ['http/1.1'],
    // The certificate is judged below, where it can be shown.
    rejectUnauthorized: false,
  })
  const fault = await settled(socket, 'secureConnect', target.timeoutMs)
  const certificate = socket.getPeerCertificate(true)
  const refusal = socket.authorizationError as (Error & { code?: string }) | string | undefined
  const protocol = socket.getProtocol()
  socket.destroy()
  if (fault !== null) {
    yield { step: 'tls', status: 'fail', text: `no handshake: ${fault}`, cause: CERTIFICATE[fault] ?? NETWORK[fault] }
    return null
  }
  if (refusal) {
    const code = typeof refusal === 'string' ? refusal : (refusal.code ?? refusal.message)
    const text = `the certificate is not trusted: ${code}; it is ${describe(certificate)}`
    yield { step: 'tls', status: 'fail', text, cause: CERTIFICATE[code] }
    return null
  }
  yield validity(certificate, `${protocol}, ${describe(certificate)} (${since(start)})`)
  return true
}

function validity(certificate: DetailedPeerCertificate, text: string): Finding {
  const days = Math.floor((Date.parse(certificate.valid_to) - Date.now()) / 86_400_000)
  if (days >= FEW_DAYS) return { step: 'tls', status: 'ok', text }
  const cause = 'certificates are usually renewed a month before: look at what renews this one'
  return { step: 'tls', status: 'warn', text: `${text}: ${days} days are left`, cause }
}

const describe = ({ subjectaltname, subject, issuer, valid_to }: DetailedPeerCertificate): string =>
  `for ${subjectaltname ?? subject?.CN}, from ${issuer?.CN ?? issuer?.O}, until ${valid_to}`

/** Resolves when `event` comes: null, or the code of what came instead. */
async function settled(socket: Socket | TLSSocket, event: string, timeoutMs: number): Promise<string | null> {
  const timeout = AbortSignal.timeout(timeoutMs)
  // A fault behind the handshake is nobody's: the socket has served its purpose.
  socket.on('error', () => {})
  try {
    await once(socket, event, { signal: timeout })
    return null
  } catch (cause) {
    return timeout.aborted ? 'ETIMEDOUT' : codeOf(cause)
  }
}
