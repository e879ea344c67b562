/**
 * JSON that people wrote, with a mistake now and then.
 *
 * Says where a mistake is and never what stands there: it may be a secret, and what is said ends in a journal.
 *
 * @module
 */
import { UsageError } from './arguments.js'

/** The value of a text, which `name` gave. Throws {@link UsageError}. */
export function parseJson(name: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    const before = text.slice(0, validLength(text)).split('\n')
    const column = (before.at(-1)?.length ?? 0) + 1
    throw new UsageError(`${name} is not JSON: look at line ${before.length}, column ${column}`)
  }
}

/** The same for an object. */
export function parseObject(name: string, text: string): Record<string, unknown> {
  const value = parseJson(name, text)
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  throw new UsageError(`${name}: expected a JSON object`)
}

const SPACE = /[ \t\r\n]*/y
const STRING = /"(?:[^"\\\p{Cc}]|[\x7f-\x9f]|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*"/uy
const LITERAL = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y

/** How far a text is JSON: runtimes tell it in words of their own, and not all of them. */
function validLength(text: string): number {
  let at = 0
  const skip = (part: RegExp): boolean => {
    part.lastIndex = at
    const isThere = part.test(text)
    if (isThere) at = part.lastIndex
    return isThere
  }
  const takes = (part: RegExp): boolean => {
    skip(SPACE)
    return skip(part)
  }
  const list = (item: () => boolean, end: RegExp): boolean => {
    if (takes(end)) return true
    do if (!item()) return false
    while (takes(/,/y))
    return takes(end)
  }
  const member = (): boolean => takes(STRING) && takes(/:/y) && value()
  const value = (): boolean => {
    if (takes(STRING) || takes(LITERAL)) return true
    if (takes(/\{/y)) return list(member, /\}/y)
    return takes(/\[/y) && list(value, /\]/y)
  }
  value()
  skip(SPACE)
  return at
}
