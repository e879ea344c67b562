/**
 * Tokens, made and read by the code that checks them.
 *
 * @module
 */
import { tokenOptions } from './config.js'
import { translated, WseError } from './errors.js'
import { ALGORITHMS, type JwtAlgorithm, privateDer } from './keys.js'
import { native } from './native.js'
import type { JwtOptions } from './options.js'
import { Recent } from './recent.js'
import type { JsonObject } from './types.js'

/** Claims of a token: `iat` and `exp` have no defaults. */
export interface JwtClaims extends JsonObject {
  /** The user id. */
  sub: string
  /** When it was made, in seconds since 1970. */
  iat: number
  /** When it ends, in seconds since 1970. */
  exp: number
}

/**
 * Signs claims.
 *
 * @param key - of HS256 the secret, at least 32 bytes; of RS256 and ES256 the private key in PEM
 * @param options - `alg`, by default HS256, and `kid`, which names the key
 * @throws `WSE_TOKEN_INVALID` when a claim is missing or the key does not fit the algorithm
 */
export function encodeJwt(
  claims: JwtClaims,
  key: string,
  { alg = 'HS256', kid }: { alg?: JwtAlgorithm; kid?: string } = {},
): string {
  return translated(() => native.encodeJwt(JSON.stringify(claims), keyOf(key, alg), alg, kid))
}

/**
 * The claims of a token that the server would take, with the option `jwt` that it has. Not with `jwks`.
 *
 * @throws `WSE_TOKEN_INVALID`, which says why the server would refuse it; `WSE_OPTION_INVALID`, `WSE_OPTION_UNKNOWN`
 */
export function decodeJwt(token: string, options: JwtOptions): JsonObject & { sub: string; exp: number } {
  const config = tokenOptions(options)
  return JSON.parse(translated(() => native.decodeJwt(verifiers.of(config), token, Date.now())))
}

/** To read a key takes longer than to check a token. */
const verifiers = new Recent((config) => native.verifier(config))

function keyOf(key: string, alg: JwtAlgorithm): Uint8Array {
  // What stands there instead is not told: with arguments in a wrong order it is the key.
  if (!ALGORITHMS.includes(alg)) {
    throw new WseError('WSE_TOKEN_INVALID', `alg: expected one of ${ALGORITHMS.join(', ')}`)
  }
  if (alg === 'HS256') return Buffer.from(key)
  try {
    return privateDer(key)
  } catch (cause) {
    throw new WseError('WSE_TOKEN_INVALID', `${alg} signs with a private key in PEM: ${String(cause)}`, { cause })
  }
}
