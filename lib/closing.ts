/**
 * How an application may close a connection.
 *
 * @module
 */
import { WseError } from './errors.js'

/** The close code where none is given: not allowed, clients do not come back. */
export const NOT_ALLOWED = 4403

/** RFC 6455 §7.4: what a program may send, besides 3000 to 4999. */
const SENDABLE = new Set([1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014])

/** The code, if it is one. Throws `WSE_OPTION_INVALID`. */
export function closeCode(code: number): number {
  const isGood = Number.isInteger(code) && ((code >= 3000 && code <= 4999) || SENDABLE.has(code))
  if (!isGood) throw new WseError('WSE_OPTION_INVALID', `${code} is no close code: use one from 3000 to 4999`)
  return code
}
