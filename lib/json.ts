/**
 * Objects that an application gives, as JSON: what counts is what JSON makes of them.
 *
 * @module
 */
import { type ErrorCode, WseError } from './errors.js'

/** What JSON says of `value`, with these members in place of its own, where that is an object. */
export function adding<T extends object>(value: T, members: object): T {
  const said = { toJSON: () => merged(spoken(value), members) }
  return said as unknown as T
}

const merged = (said: unknown, members: object) => (isObject(said) ? { ...said, ...members } : said)

export const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function spoken(value: object): unknown {
  const { toJSON } = value as { toJSON?: unknown }
  return typeof toJSON === 'function' ? Reflect.apply(toJSON, value, ['']) : value
}

/** The JSON of what is an object there. Throws an error with `code` that says what was `expected`. */
export function objectText(value: unknown, code: ErrorCode, expected: string): string {
  let text: string | undefined
  try {
    text = JSON.stringify(value)
  } catch (cause) {
    throw new WseError(code, `${expected} that JSON can say: ${String(cause)}`, { cause })
  }
  if (text?.startsWith('{')) return text
  throw new WseError(code, expected)
}
