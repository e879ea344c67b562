/**
 * What can be seen of a token from outside: its parts, and why a server would refuse it.
 *
 * Never lets anybody in: that is the engine's part. Prints no key and no signature.
 *
 * @module
 */
import { createHmac, timingSafeEqual, verify } from 'node:crypto'

/** What a server would hold the token against. */
export interface Expectation {
  /** The secret, or the public key in PEM. Without it the signature is not looked at. */
  readonly key?: string | undefined
  readonly algorithm?: string | undefined
  readonly issuer?: string | undefined
  readonly audience?: string | undefined
  /** The clock that decides, in milliseconds since 1970. */
  readonly now: number
}

export interface Inspection {
  readonly header: Record<string, unknown>
  readonly claims: Record<string, unknown>
  readonly signature: 'valid' | 'invalid' | 'not checked'
  /** Why it would be refused; empty: it would not. */
  readonly faults: string[]
}

/** What clocks may differ, in seconds: the default of `jwt.leewaySeconds`. */
export const LEEWAY_SECONDS = 30
const MAX_BYTES = 8192
const ALGORITHMS: readonly unknown[] = ['HS256', 'RS256', 'ES256']

/** Looks at a token. Null: it is none. */
export function inspect(token: string, expected: Expectation): Inspection | null {
  const parts = token.split('.')
  const [header, claims] = parts.slice(0, 2).map(objectOf)
  if (parts.length !== 3 || !header || !claims) return null
  const signature = signatureOf(parts, header.alg, expected.key)
  return {
    header,
    claims,
    signature,
    faults: [...faultsOf(token, header, signature, expected), ...datesOf(claims, expected)],
  }
}

function* faultsOf(
  token: string,
  header: Record<string, unknown>,
  signature: Inspection['signature'],
  { algorithm }: Expectation,
): Generator<string> {
  if (Buffer.byteLength(token) > MAX_BYTES) yield `it is larger than ${MAX_BYTES} bytes`
  if (!ALGORITHMS.includes(header.alg)) yield `alg is none of ${ALGORITHMS.join(', ')}`
  else if (algorithm !== undefined && header.alg !== algorithm) yield `alg is ${header.alg}, expected ${algorithm}`
  if (header.crit !== undefined) yield 'crit names extensions that nobody here knows'
  if (signature === 'invalid') yield 'the signature is not of this key'
}

function* datesOf(claims: Record<string, unknown>, { issuer, audience, now }: Expectation): Generator<string> {
  const { sub, exp, nbf, iss, aud } = claims
  const seconds = Math.floor(now / 1_000)
  if (typeof sub !== 'string' || sub === '') yield 'sub is missing: it is the user id'
  if (typeof exp !== 'number') yield 'exp is missing'
  else if (exp + LEEWAY_SECONDS < seconds) yield `it expired ${seconds - exp} s ago`
  if (typeof nbf === 'number' && nbf - LEEWAY_SECONDS > seconds) yield `it is good only in ${nbf - seconds} s (nbf)`
  if (issuer !== undefined && iss !== issuer) yield `iss is ${JSON.stringify(iss)}, expected "${issuer}"`
  const audiences = Array.isArray(aud) ? aud : [aud]
  if (audience !== undefined && !audiences.includes(audience)) {
    yield `aud is ${JSON.stringify(aud)}, expected "${audience}"`
  }
}

function objectOf(part: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'))
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null
  } catch {
    // Not JSON, so not a token: the caller is told by null.
    return null
  }
}

function signatureOf(parts: string[], algorithm: unknown, key: string | undefined): Inspection['signature'] {
  if (key === undefined) return 'not checked'
  const signed = Buffer.from(`${parts[0]}.${parts[1]}`)
  const signature = Buffer.from(parts[2] ?? '', 'base64url')
  return isSigned(algorithm, signed, signature, key) ? 'valid' : 'invalid'
}

function isSigned(algorithm: unknown, signed: Buffer, signature: Buffer, key: string): boolean {
  if (algorithm === 'HS256') {
    const expected = createHmac('sha256', key).update(signed).digest()
    return signature.length === expected.length && timingSafeEqual(signature, expected)
  }
  try {
    if (algorithm === 'RS256') return verify('sha256', signed, key, signature)
    if (algorithm === 'ES256') return verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, signature)
  } catch {
    // The key is of another kind than the algorithm, so it did not sign this.
  }
  return false
}
