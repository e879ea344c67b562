/**
 * Tokens, made by the code that checks them.
 *
 * @module
 */
import { translated, WseError } from './errors.js'
import { native } from './native.js'
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
 * @param key - the secret, at least 32 bytes
 * @throws `WSE_TOKEN_INVALID` when a claim is missing, the key too short, or the algorithm another one than HS256
 */
export function encodeJwt(
  claims: JwtClaims,
  key: string,
  { alg = 'HS256', kid }: { alg?: 'HS256'; kid?: string } = {},
): string {
  if (alg !== 'HS256') throw new WseError('WSE_TOKEN_INVALID', `this version signs with HS256, not with ${alg}`)
  return translated(() => native.encodeJwt(JSON.stringify(claims), key, kid))
}
