// Signatures of envelopes as PROTOCOL §12 says, made with node:crypto, so that the engine's own prove nothing to itself.
import { createHmac, randomBytes } from 'node:crypto'

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json }

/** RFC 8785 in the language that it was written after. */
export function canonical(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  const names = Object.keys(value).sort()
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonical(value[name] ?? null)}`).join()}}`
}

interface Signed {
  sig: { kid: string; ts: number; nonce: string; mac?: string }
  [member: string]: Json | Signed['sig']
}

/** Whether the code of an envelope is the one that belongs to it. */
export function isSigned(envelope: object, secret: string | Buffer): boolean {
  const { sig, ...others } = envelope as Signed
  const { mac, ...signed } = sig
  return codeOf({ ...others, sig: signed }, secret) === mac
}

/** The envelope with a signature of this moment, or of another one. */
export function signed(envelope: object, key: { kid: string; secret: string }, ts = Date.now()): string {
  const unsigned = { ...envelope, sig: { kid: key.kid, ts, nonce: randomBytes(16).toString('base64url') } }
  return JSON.stringify({ ...unsigned, sig: { ...unsigned.sig, mac: codeOf(unsigned, key.secret) } })
}

const codeOf = (envelope: object, secret: string | Buffer): string =>
  createHmac('sha256', secret)
    .update(canonical(envelope as Json))
    .digest('base64url')
