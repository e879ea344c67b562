/**
 * What can be seen of a token without the key: its parts, and why every server would refuse it.
 *
 * Whether it is signed, and so whether it is good, is the engine's to say. Prints no signature.
 *
 * @module
 */
/** What a server would hold the token against. */
export interface Expectation {
  readonly algorithm?: string | undefined
  readonly issuer?: string | undefined
  readonly audience?: string | undefined
  /** The clock that decides, in milliseconds since 1970. */
  readonly now: number
}

export interface Inspection {
  readonly header: Record<string, unknown>
  readonly claims: Record<string, unknown>
  /** Why it would be refused; empty: it would not, if it is signed. */
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
  return { header, claims, faults: [...faultsOf(token, header, expected), ...datesOf(claims, expected)] }
}

function* faultsOf(token: string, header: Record<string, unknown>, { algorithm }: Expectation): Generator<string> {
  if (Buffer.byteLength(token) > MAX_BYTES) yield `it is larger than ${MAX_BYTES} bytes`
  if (!ALGORITHMS.includes(header.alg)) yield `alg is none of ${ALGORITHMS.join(', ')}`
  else if (algorithm !== undefined && header.alg !== algorithm) yield `alg is ${header.alg}, expected ${algorithm}`
  if (header.crit !== undefined) yield 'crit names extensions that nobody here knows'
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
