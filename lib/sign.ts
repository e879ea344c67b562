/**
 * Signatures of envelopes, for services that talk to a server which has the option `signing`.
 *
 * @module
 */
import { translated, WseError } from './errors.js'
import { crypto } from './keys.js'
import { native } from './native.js'
import type { SigningKey } from './options.js'
import type { JsonObject } from './types.js'

const NONCE_BYTES = 16

/** What a signature says of itself. */
export interface EnvelopeSignature {
  /** Which key made it. */
  readonly kid: string
  /** When, in milliseconds since 1970. */
  readonly ts: number
  /** What is never used twice: whoever must not act on a message twice remembers it for two minutes. */
  readonly nonce: string
}

/**
 * The envelope as JSON with a signature, `sig`, as its last member. To be sent as it is, and within a minute.
 *
 * @throws `WSE_MESSAGE_INVALID`: it is no object, has a `sig`, or says a number or a text that not all readers would
 * take for the same; `WSE_OPTION_INVALID`: the key is of no use
 */
export function signEnvelope(envelope: JsonObject | string, key: SigningKey): string {
  const text = typeof envelope === 'string' ? envelope : JSON.stringify(envelope)
  const { kid, secret } = keyOf(key)
  return translated(() => native.signEnvelope(text, kid, secret, Date.now(), crypto().randomBytes(NONCE_BYTES)))
}

/**
 * What the signature of an envelope says, when one of `keys` made it within the last minute and nothing was changed.
 *
 * Not whether the envelope was seen before: that is the caller's to know, by the nonce. The server knows it of what it
 * is sent.
 *
 * @throws `WSE_SIGNATURE_INVALID`, which says why; `WSE_OPTION_INVALID`: a key is of no use
 */
export function verifyEnvelope(text: string, keys: readonly SigningKey[]): EnvelopeSignature {
  const named = keys.map(keyOf)
  const kids = named.map(({ kid }) => kid)
  const secrets = named.map(({ secret }) => secret)
  translated(() => native.verifyEnvelope(text, kids, secrets, Date.now()))
  const { kid, ts, nonce } = JSON.parse(text).sig as EnvelopeSignature
  return { kid, ts, nonce }
}

function keyOf(key: SigningKey): SigningKey {
  // What stands there instead is not told: it may be the secret.
  if (typeof key?.kid === 'string' && typeof key.secret === 'string') return key
  throw new WseError('WSE_OPTION_INVALID', 'a key is { kid, secret }: two texts')
}
