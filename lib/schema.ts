/**
 * The language in which options are described: what a value may be, what it is made of, and how text says it.
 *
 * Every mistake is an error that names the option. Names no option itself.
 *
 * @module
 */
import { WseError } from './errors.js'

/** Checks a value and returns it, or its default. `path` names the option. */
export interface Field {
  (value: unknown, path: string): unknown
  /** Makes a value of text, for the check to judge: text that is none stays. Absent: text is the value. */
  readonly fromText?: FromText
  /** What the option is made of, each settable by itself. */
  readonly members?: Schema
  /** Only code can give it, a function for instance. */
  readonly isCode?: boolean
}
/** Options by name. */
export type Schema = Record<string, Field>
export type FromText = (text: string) => unknown

/** The error of an option whose value is not what was expected. */
export const invalid = (path: string, expected: string): WseError =>
  new WseError('WSE_OPTION_INVALID', `option ${path}: expected ${expected}`)

// Values of text; text that is none stays.
export const numberOf: FromText = (text) => (/^\d+$/.test(text) ? Number(text) : text)
export const truthOf: FromText = (text) => (text === 'true' ? true : text === 'false' ? false : text)
export const listOf: FromText = (text) =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')

export const readBy = (fromText: FromText, field: Field): Field => Object.assign(field, { fromText })
export const inCode = (field: Field): Field => Object.assign(field, { isCode: true })

export const U32 = 0xffff_ffff

/** A count or a time: a whole number, zero for off. */
export const whole = (initial: number, { max = Number.MAX_SAFE_INTEGER, min = 0 } = {}): Field =>
  readBy(numberOf, (value = initial, path) => {
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max) return value
    throw invalid(path, `a whole number from ${min}${max < Number.MAX_SAFE_INTEGER ? ` to ${max}` : ''}`)
  })

export const flag = (initial: boolean): Field =>
  readBy(truthOf, (value = initial, path) => {
    if (typeof value === 'boolean') return value
    throw invalid(path, 'true or false')
  })

/** Text that is good; `initial` where none is given. */
export const text =
  (initial: string | null, isGood: (value: string) => boolean = (value) => value !== '', expected = 'text'): Field =>
  (value, path) => {
    if (value === undefined) return initial
    if (typeof value === 'string' && isGood(value)) return value
    throw invalid(path, expected)
  }

/** One of these texts, the first by default. */
export const oneOf =
  (...choices: string[]): Field =>
  (value = choices[0], path) => {
    if (choices.includes(value as string)) return value
    throw invalid(path, choices.map((choice) => `'${choice}'`).join(' or '))
  }

export const texts = readBy(listOf, (value = [], path) => {
  if (Array.isArray(value) && value.every((item) => typeof item === 'string' && item !== '')) return value
  throw invalid(path, 'a list of texts')
})

/** A text that means something else; what `read` throws says why it does not. */
export const meaning =
  (expected: string, read: (value: string) => unknown): Field =>
  (value, path) => {
    if (value === undefined) return null
    if (typeof value !== 'string') throw invalid(path, expected)
    try {
      return read(value)
    } catch (cause) {
      throw invalid(path, `${expected}: ${(cause as Error).message}`)
    }
  }

/** An option that is made of others. */
export const group = (members: Schema): Field => {
  const check: Field = (value = {}, path) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(path, 'an object')
    return read(members, value as Record<string, unknown>, `${path}.`)
  }
  return Object.assign(check, { members })
}

/** Null where nothing is given. */
export const optional = (field: Field): Field =>
  Object.assign((value: unknown, path: string) => (value === undefined ? null : field(value, path)), { ...field })

/** False is off; what else is given is for `check` to say. Its members are settable by themselves. */
export const orOff = ({ members }: Field, check: Field): Field =>
  Object.assign(
    readBy(truthOf, (value, path) => (value === false ? null : check(value, path))),
    { members },
  )

/** Off by default; true for the defaults of its members. */
export const optIn = (members: Field, check: Field = members): Field =>
  orOff(members, (value, path) => (value === undefined ? null : check(value === true ? {} : value, path)))

/** Refuses names of options that are not among the known ones; all stand behind `prefix`. */
function ensureAmong(known: readonly string[], names: readonly string[], prefix: string): void {
  const unknown = names.find((name) => !known.includes(name))
  if (unknown === undefined) return
  const all = known.map((name) => `${prefix}${name}`).join(', ')
  throw new WseError('WSE_OPTION_UNKNOWN', `option ${prefix}${unknown} is unknown; known are ${all}`)
}

/** The values of all fields, complete. `prefix` stands before their names. */
export function read(fields: Schema, values: Record<string, unknown>, prefix: string): Record<string, unknown> {
  ensureAmong(Object.keys(fields), Object.keys(values), prefix)
  return Object.fromEntries(
    Object.entries(fields).map(([name, field]) => [name, field(values[name], `${prefix}${name}`)]),
  )
}

/**
 * Refuses what is no option of a call: a misspelt one would be left out without a word. Throws `WSE_OPTION_INVALID`,
 * `WSE_OPTION_UNKNOWN`.
 */
export function ensureKnown(options: unknown, call: string, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null) throw invalid(call, 'an object')
  ensureAmong(known, Object.keys(options), `${call}.`)
}

/** An option that text can give, in the environment or on a command line. */
export interface Setting {
  /** Its name behind those of the options around it, with dots: `jwt.secret`. */
  readonly path: string
  readonly fromText: FromText
}

/** Those of `fields` that text can give, in their order. */
export function settingsOf(fields: Schema, prefix = ''): Setting[] {
  return Object.entries(fields).flatMap(([name, { members, isCode, fromText }]) => {
    if (isCode) return []
    const path = `${prefix}${name}`
    const own = members && !fromText ? [] : [{ path, fromText: fromText ?? ((text: string) => text) }]
    return [...own, ...settingsOf(members ?? {}, `${path}.`)]
  })
}
