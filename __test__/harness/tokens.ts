// Tokens of tests, signed by a third-party library so that the engine's own signing proves nothing to itself.
import { generateKeyPairSync, type JsonWebKey, type KeyObject } from 'node:crypto'
import { type JWTPayload, SignJWT } from 'jose'

/** The secret that tests configure as `jwt.secret`. */
export const secret = 'a secret of the tests, thirty-two bytes and more'

/** A valid token of this user, unless the claims or the header say otherwise. */
export function tokenOf(
  userId: string | undefined,
  claims: Record<string, unknown> = {},
  { header = {}, key = secret }: { header?: Record<string, unknown>; key?: string | KeyObject } = {},
): Promise<string> {
  const now = Math.floor(Date.now() / 1000)
  const subject = userId === undefined ? {} : { sub: userId }
  return new SignJWT({ ...subject, iat: now, exp: now + 600, ...claims } as JWTPayload)
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT', ...header })
    .sign(typeof key === 'string' ? new TextEncoder().encode(key) : key)
}

/** A pair of keys, made anew in each run. */
export class Signer {
  readonly alg: 'RS256' | 'ES256'
  readonly kid: string
  readonly publicPem: string
  readonly privatePem: string
  readonly #privateKey: KeyObject
  readonly #publicKey: KeyObject

  constructor(alg: 'RS256' | 'ES256', kid: string, { bits = 2_048, curve = 'P-256' } = {}) {
    const pair =
      alg === 'RS256'
        ? generateKeyPairSync('rsa', { modulusLength: bits })
        : generateKeyPairSync('ec', { namedCurve: curve })
    this.alg = alg
    this.kid = kid
    this.#privateKey = pair.privateKey
    this.#publicKey = pair.publicKey
    this.publicPem = pair.publicKey.export({ type: 'spki', format: 'pem' }) as string
    this.privatePem = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
  }

  /** The public key as it stands in a set. */
  get jwk(): JsonWebKey {
    return { ...this.#publicKey.export({ format: 'jwk' }), kid: this.kid, use: 'sig', alg: this.alg }
  }

  /** A valid token of this user, which names the key. */
  tokenOf(userId: string, claims: Record<string, unknown> = {}, header: Record<string, unknown> = {}): Promise<string> {
    return tokenOf(userId, claims, { header: { alg: this.alg, kid: this.kid, ...header }, key: this.#privateKey })
  }
}

/** A key set as its publisher writes it. */
export const keySet = (...signers: Signer[]): string => JSON.stringify({ keys: signers.map(({ jwk }) => jwk) })
