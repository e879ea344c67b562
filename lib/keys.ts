/**
 * Keys of tokens as an application has them, in the form that the addon reads.
 *
 * Owns the reading of PEM, which Node.js does, and when Node.js loads what that needs. Whether a key is good enough is the addon's to say.
 *
 * @module
 */
import { Recent } from './recent.js'

/** The algorithms of tokens. */
export type JwtAlgorithm = 'HS256' | 'RS256' | 'ES256'
export const ALGORITHMS: readonly JwtAlgorithm[] = ['HS256', 'RS256', 'ES256']

/** Loaded when it is needed: it would be most of the time that the package takes to load. */
export const crypto = () => process.getBuiltinModule('node:crypto')

/** A public key, or that of a certificate, as a JSON Web Key. Throws what Node.js says of another text. */
export const publicJwk = (pem: string): string => jwks.of(pem)

const jwks = new Recent((pem) => {
  // Node.js would take the public half of it; but whoever checks tokens has no business with the other.
  if (pem.includes('PRIVATE KEY-----')) throw new Error('it is a private key')
  return JSON.stringify(crypto().createPublicKey(pem).export({ format: 'jwk' }))
})

/** A private key as PKCS #8. Throws what Node.js says of another text. */
export function privateDer(pem: string): Buffer {
  return crypto().createPrivateKey(pem).export({ format: 'der', type: 'pkcs8' })
}
