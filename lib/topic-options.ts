/**
 * The options about topics: who may have them, what becomes of their publications, and who is there.
 *
 * @module
 */
import { WseError } from './errors.js'
import {
  type Field,
  flag,
  group,
  inCode,
  invalid,
  listOf,
  optIn,
  optional,
  readBy,
  texts,
  U32,
  whole,
} from './schema.js'
import { LONGEST_MS } from './timers.js'

/** Topics, and globs. What no topic can be matches none, and is a mistake. */
export const globs = readBy(listOf, (value, path) => {
  const names = texts(value, path) as string[]
  if (names.every((name) => Buffer.byteLength(name) <= 255 && !/\p{Cc}/u.test(name))) return names
  throw invalid(path, 'topics of 255 bytes at most, without control characters')
})

/** What everyone may have, and nobody. */
export const rules = group({ allow: globs, deny: globs })

const overflow: Field = (value = 'drop', path) => {
  if (value === 'drop' || value === 'block' || value === 'disconnect') return value
  const { ring, latest, ...others } = Object(value) as Record<string, unknown>
  if (Object.keys(others).length === 0 && (ring === undefined || latest === undefined)) {
    if (Number.isSafeInteger(ring) && Number(ring) >= 1) return { ring }
    if (latest === true) return { latest: null }
    if (typeof latest === 'string' && latest !== '') return { latest }
  }
  throw invalid(path, "'drop', 'block', 'disconnect', { ring: 1 or more } or { latest: true or a member of p }")
}

/** How important something is. */
export const priority: Field = (value = 5, path) => {
  if ([10, 8, 5, 3, 1].includes(value as number)) return value
  throw invalid(path, '10, 8, 5, 3 or 1')
}

const policy = group({
  topics: globs,
  priority,
  overflow,
  blockMs: whole(1_000, { min: 1, max: LONGEST_MS }),
  deadlineMs: whole(0, { max: LONGEST_MS }),
  recovery: optional(flag(false)),
})

/** Policies of topics at most: each topic looks for its own among them once. */
const MOST_POLICIES = 256

/** What becomes of publications, by topic; a log and what is lossy exclude each other. */
export const policies = inCode((value = [], path) => {
  if (!Array.isArray(value) || value.length > MOST_POLICIES) throw invalid(path, `a list of ${MOST_POLICIES} at most`)
  return value.map((one, place) => {
    const name = `${path}[${place}]`
    const { blockMs, ...read } = policy(one, name) as Record<string, unknown>
    const topics = read.topics as string[]
    if (topics.length === 0) throw invalid(`${name}.topics`, 'a list of topics, as globs')
    const isLossy = typeof read.overflow === 'object' ? 'overflow' : read.deadlineMs !== 0 && 'deadlineMs'
    if (read.recovery && isLossy) {
      const message = `options ${name}.recovery and ${name}.${isLossy}: a log has no holes that are meant to be`
      throw new WseError('WSE_OPTION_INVALID', message)
    }
    if (read.overflow === 'block') read.overflow = { block: blockMs }
    else if (one.blockMs !== undefined) throw invalid(`${name}.blockMs`, "none without overflow: 'block'")
    return read
  })
})

const logs = group({
  slots: whole(256, { min: 1, max: 1 << 20 }),
  ttlSeconds: whole(300, { max: U32 }),
  maxMessages: whole(500, { max: U32 }),
  budgetBytes: whole(256 << 20),
  topics: readBy(listOf, (value = ['*'], path) => globs(value, path)),
})

/** The logs of topics. */
export const recovery = optIn(logs, (value, path) => {
  const checked = logs(value, path) as { slots: number }
  if (Math.log2(checked.slots) % 1 === 0) return checked
  throw invalid(`${path}.slots`, 'a power of two')
})

const attendance = group({ maxDataBytes: whole(4_096, { max: 1 << 20 }), maxMembers: whole(0, { max: U32 }) })

/** Who is there. */
export const presence = optIn(attendance)
