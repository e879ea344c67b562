// Encryption between client and server (PROTOCOL §11), by the crypto of Node.js.
import { createCipheriv, createDecipheriv, type ECDH, hkdfSync, randomBytes } from 'node:crypto'

/** The key that the owner of `pair` has in common with that of `peer`, a public key in base64. */
export function commonKey(pair: ECDH, peer: string): Buffer {
  const x = pair.computeSecret(peer, 'base64')
  return Buffer.from(hkdfSync('sha256', x, '', 'wse-encryption/aes-gcm-key', 32))
}

/** An `E:` message with this text. */
export function seal(key: Buffer, text: string): Buffer {
  const nonce = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', key, nonce)
  return Buffer.concat([Buffer.from('E:'), nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()])
}

/** What is in an `E:` message, its prefix taken off. */
export function unseal(key: Buffer, body: Buffer): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', key, body.subarray(0, 12))
  decipher.setAuthTag(body.subarray(-16))
  return Buffer.concat([decipher.update(body.subarray(12, -16)), decipher.final()])
}
