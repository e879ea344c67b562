/**
 * wse-server: a real-time engine for Node.js services.
 *
 * @module
 */
export { type ErrorCode, WseError } from './lib/errors.js'
export type * from './lib/inbound.js'
export { decodeJwt, encodeJwt, type JwtClaims } from './lib/jwt.js'
export type { JwtAlgorithm } from './lib/keys.js'
export type * from './lib/options.js'
export { WseServer } from './lib/server.js'
export { type EnvelopeSignature, signEnvelope, verifyEnvelope } from './lib/sign.js'
export {
  type DomainEvent,
  EventMapping,
  type EventMappingOptions,
  type EventTypes,
  type TransformedEvents,
  transformEvent,
  transformEvents,
} from './lib/transform.js'
export type * from './lib/types.js'
