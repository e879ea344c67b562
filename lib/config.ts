/**
 * One schema for the options: their defaults, and an error for each mistake that names the option.
 *
 * @module
 */
import type { InboundLimits } from './callbacks.js'
import type { Pace } from './draining.js'
import { WseError } from './errors.js'
import { type Origin, originOf } from './jwks.js'
import { publicJwk } from './keys.js'
import type { JwtOptions, Logger, LogLevel, ServerOptions, TlsOptions } from './options.js'
import type { PresenceLimits } from './presence.js'
import {
  type Field,
  flag,
  group,
  inCode,
  invalid,
  listOf,
  meaning,
  numberOf,
  oneOf,
  optIn,
  optional,
  orOff,
  read,
  readBy,
  type Schema,
  type Setting,
  settingsOf,
  text,
  texts,
  truthOf,
  U32,
  whole,
} from './schema.js'
import { LONGEST_MS } from './timers.js'
import { globs, policies, presence, recovery, rules } from './topic-options.js'

const rates = group({ perSecond: whole(10_000, { max: U32 }), burst: whole(100_000, { max: U32 }) })

/** Off where either number is zero, too. */
const rateLimit = orOff(rates, (value, path) => {
  const { perSecond, burst } = rates(value, path) as { perSecond: number; burst: number }
  return perSecond > 0 && burst > 0 ? { perSecond, burst } : null
})

/** The bucket counts nanoseconds: with more in a second it would no longer be exact. */
const MOST_NEWCOMERS = 1_000_000
const newcomers = group({ perSecond: whole(0, { max: MOST_NEWCOMERS }), burst: whole(0, { max: MOST_NEWCOMERS }) })

/** Without a burst of its own as many as in a second. */
const admission: Field = Object.assign(
  (value: unknown, path: string) => {
    const { perSecond, burst } = newcomers(value, path) as { perSecond: number; burst: number }
    if (perSecond === 0 && burst > 0) throw invalid(`${path}.perSecond`, 'a number above 0 beside a burst')
    return perSecond > 0 ? { perSecond, burst: burst || perSecond } : null
  },
  { ...newcomers },
)

const pace = group({
  waves: whole(10, { min: 1, max: 1_000 }),
  deadlineMs: whole(30_000, { min: 1, max: LONGEST_MS }),
})

const drainOnSigterm = optIn(pace)

const deflation = group({ thresholdBytes: whole(1_024, { max: 1 << 30 }), level: whole(6, { max: 9 }) })

/** Off at level zero, too. */
const compression = orOff(deflation, (value, path) => {
  const { level, thresholdBytes } = deflation(value === true ? undefined : value, path) as Record<string, number>
  return level === 0 ? null : { level, thresholdBytes }
})

const windows = group({
  serverContextTakeover: flag(false),
  clientContextTakeover: flag(false),
  // zlib writes with no smaller window.
  serverMaxWindowBits: whole(15, { min: 9, max: 15 }),
  clientMaxWindowBits: whole(15, { min: 9, max: 15 }),
})

const perMessageDeflate = optIn(windows)

/** The most keys that signatures are made and read with: those of today, and those that go. */
const MOST_KEYS = 16

const signatures = group({
  keys: inCode((value, path) => {
    const named = group({ kid: text(null), secret: text(null) })
    if (!Array.isArray(value) || value.length === 0 || value.length > MOST_KEYS) {
      throw invalid(path, `a list of 1 to ${MOST_KEYS} keys: { kid, secret }`)
    }
    const keys = value.map(
      (key, place) => named(key, `${path}[${place}]`) as { kid: string | null; secret: string | null },
    )
    const lacking = keys.findIndex(({ kid, secret }) => kid === null || secret === null)
    if (lacking >= 0) throw invalid(`${path}[${lacking}]`, '{ kid, secret }')
    if (new Set(keys.map(({ kid }) => kid)).size < keys.length) throw invalid(path, 'a kid of its own for each key')
    return keys
  }),
  types: readBy(listOf, (value, path) => {
    const types = texts(value, path) as string[]
    if (types.length > 0) return types
    throw invalid(path, "a list of types, as globs: ['order_*']")
  }),
  require: readBy(truthOf, (value = true, path) => {
    if (typeof value === 'boolean' || value === 'all') return value
    throw invalid(path, "true, false or 'all'")
  }),
})

/** What a message has beside a user's presence data, at most: the names of user and topic, and the envelope. */
const AROUND_PRESENCE = 4_096

/** The keys that may be given, and the algorithms of each. */
const KEYS = { secret: ['HS256'], publicKey: ['RS256', 'ES256'], jwks: ['RS256', 'ES256'] } as const

const tokenFields = group({
  secret: text(null),
  previousSecret: text(null),
  publicKey: meaning('a public key in PEM', publicJwk),
  jwks: meaning('a URL or a file', originOf),
  algorithm: oneOf('HS256', 'RS256', 'ES256'),
  keyId: text(null),
  issuer: text(null),
  audience: text(null),
  cookieName: text('access_token', (name) => /^[\w!#$%&'*+.^`|~-]+$/.test(name), "a cookie's name"),
  queryParameter: flag(false),
  leewaySeconds: whole(30),
})

/** How tokens are checked: what is given, with its defaults. */
interface Tokens extends Record<string, unknown> {
  readonly algorithm: string
  readonly jwks: Origin | null
}

const checkTokens: Field = (value, path) => {
  const tokens = tokenFields(value, path) as Tokens
  const given = (Object.keys(KEYS) as (keyof typeof KEYS)[]).filter((name) => tokens[name] !== null)
  const [key] = given
  if (key === undefined || given.length > 1) {
    throw invalid(path, `one of ${path}.secret, ${path}.publicKey and ${path}.jwks`)
  }
  const algorithms: readonly string[] = KEYS[key]
  if (!algorithms.includes(tokens.algorithm)) {
    throw invalid(`${path}.algorithm`, `${algorithms.join(' or ')} with ${path}.${key}`)
  }
  if (key !== 'secret' && tokens.previousSecret !== null) {
    throw invalid(`${path}.previousSecret`, `none without ${path}.secret`)
  }
  if (key === 'jwks' && tokens.keyId !== null) throw invalid(`${path}.keyId`, `none with ${path}.jwks`)
  return tokens
}
const jwt: Field = Object.assign(checkTokens, { members: tokenFields.members })

/** Which connections end with their token, and what the addon calls that. */
const EXPIRY = new Map<unknown, string>([
  [true, 'native'],
  [false, 'off'],
  ['all', 'all'],
])

/** A function, of which the addon needs to know whether it is there. */
const hook = inCode((value, path) => {
  if (value === undefined || typeof value === 'function') return value !== undefined
  throw invalid(path, 'a function')
})

/** The options of a server. */
const schema: Schema = {
  path: text('/wse', (path) => /^\/[^\s?#]*$/.test(path), 'a path that begins with /'),
  jwt: optional(jwt),
  authenticate: hook,
  tokenExpiry: readBy(truthOf, (value = true, path) => {
    const choice = EXPIRY.get(value)
    if (choice !== undefined) return choice
    throw invalid(path, "true, false or 'all'")
  }),
  allowedOrigins: texts,
  trustProxy: readBy(
    (text) => (/^\d/.test(text) ? numberOf(text) : truthOf(text)),
    (value = false, path) => (typeof value === 'boolean' ? Number(value) : whole(0, { max: 32 })(value, path)),
  ),
  maxConnections: whole(10_000, { max: 1 << 20 }),
  admission,
  maxConnectionsPerUser: whole(5),
  connectionLimitPolicy: oneOf('replace', 'refuse'),
  maxConnectionAgeMs: whole(0),
  handshakeTimeoutMs: whole(10_000, { max: LONGEST_MS }),
  maxHandshakes: whole(4_096, { max: 1 << 20 }),
  maxHandshakesPerAddress: whole(0),
  heartbeatIntervalMs: whole(25_000),
  idleTimeoutMs: whole(60_000),
  rateLimit,
  maxMessageBytes: whole(1 << 20, { max: 1 << 30 }),
  maxFragments: whole(65_537, { max: U32 }),
  outbound: group({
    maxMessages: whole(1_000),
    maxBytes: whole(16 << 20),
    slowTimeoutMs: whole(10_000),
    publishTimeoutMs: whole(10_000, { max: LONGEST_MS }),
  }),
  inbound: group({ maxBytes: whole(64 << 20), maxBytesPerConnection: whole(256 << 10) }),
  memoryBudgetBytes: whole(512 << 20),
  compression,
  perMessageDeflate,
  signing: optional(signatures),
  tickets: group({ secret: text(null), resume: flag(true) }),
  recovery,
  topics: rules,
  authorize: hook,
  authorizeTimeoutMs: whole(5_000, { max: LONGEST_MS }),
  authorizeCacheMs: whole(60_000),
  subscribeOnConnect: readBy(listOf, (value, path) => {
    const topics = globs(value, path) as string[]
    // The engine lets no connection hold more.
    if (topics.every((topic) => topic.split('*').length <= 5)) return topics
    throw invalid(path, 'globs with four * at most')
  }),
  maxSubscriptions: whole(1_024),
  maxGlobs: whole(32),
  presence,
  topicPolicies: policies,
  envelope: flag(true),
  mode: oneOf('app', 'echo'),
  drainOnSigterm,
  shards: optional(whole(1, { min: 1, max: 255 })),
  logger: optional(
    inCode((value, path) => {
      const methods = ['debug', 'info', 'warn', 'error'] as const
      if (methods.every((method) => typeof (value as Partial<Logger> | null)?.[method] === 'function')) return value
      throw invalid(path, `an object with the methods ${methods.join(', ')}`)
    }),
  ),
  logLevel: oneOf('info', 'debug', 'warn', 'error', 'silent'),
}

const pem = text(null)

/** Texts of a certificate, or its files. */
const checkTls: Field = (value, path) => {
  const { cert, key, certFile, keyFile, ...others } = Object(value) as Record<string, unknown>
  const isPem = (part: unknown) => typeof part === 'string' || Buffer.isBuffer(part)
  const isFile = (part: unknown) => typeof part === 'string' && part !== ''
  const hasFiles = certFile !== undefined || keyFile !== undefined
  const isGood = hasFiles ? isFile(certFile) && isFile(keyFile) && !cert && !key : isPem(cert) && isPem(key)
  if (isGood && Object.keys(others).length === 0) return value
  throw invalid(path, '{ cert, key } in PEM, or { certFile, keyFile }')
}
const tls: Field = Object.assign(checkTls, { members: { cert: pem, key: pem, certFile: pem, keyFile: pem } })

const address = group({
  host: text('0.0.0.0'),
  // Without a default: what is absent is no number.
  port: whole(Number.NaN, { max: 65_535 }),
  tls: optional(tls),
})

/** Validates the options of `listen`. Throws like {@link settings}. */
export const listening = (options: unknown) =>
  address(options, 'listen') as { host: string; port: number; tls: TlsOptions | null }

/** Validates the options of `setTls`. Throws like {@link settings}. */
export const certificate = (options: unknown) => tls(options, 'tls') as TlsOptions

/** Validates the rules of `setTopicRules`, complete. Throws like {@link settings}. */
export function topicRules(value: unknown): { allow: string[]; deny: string[] } {
  // As an option they may be absent; here all of those before would go.
  if (value === undefined) throw invalid('topics', 'an object')
  return rules(value, 'topics') as { allow: string[]; deny: string[] }
}

/** Validates the options of `drainConnections`. Throws like {@link settings}. */
export const draining = (options: unknown) => pace(options, 'drain') as Pace

/** All of a server's and of its address, in the order of the documentation. */
export const textSettings = (): Setting[] => [...settingsOf(schema), ...settingsOf(address.members ?? {})]

/** Validates the options of `decodeJwt`, as the addon reads them. Throws like {@link settings}. */
export function tokenOptions(options: JwtOptions): string {
  const tokens = jwt(options, 'jwt') as Tokens
  // Keys that are yet to come check no token now.
  if (tokens.jwks) throw invalid('jwt.jwks', 'jwt.secret or jwt.publicKey instead')
  return JSON.stringify(tokens)
}

/** Options that the facade itself needs. */
export interface Settings {
  /** The options as the addon reads them: JSON, complete. */
  readonly json: string
  readonly path: string
  readonly publishTimeoutMs: number
  readonly handshakeTimeoutMs: number
  readonly maxHandshakes: number
  readonly trustProxy: number
  readonly envelope: boolean
  readonly inbound: InboundLimits
  readonly presence: PresenceLimits
  readonly authenticate: ServerOptions['authenticate']
  readonly authorize: ServerOptions['authorize']
  readonly authorizeTimeoutMs: number
  readonly authorizeCacheMs: number
  readonly jwks: Origin | undefined
  /** Undefined: the signal is not the server's. */
  readonly drainOnSigterm: Pace | undefined
  readonly logger: Logger | undefined
  readonly logLevel: LogLevel
}

/** The options of an echo server: its own defaults, and what would contradict it is an error. */
function echoing(options: ServerOptions): Record<string, unknown> {
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
  const contradiction = ['jwt', 'authenticate', ...(given.envelope === true ? ['envelope'] : [])].find(
    (name) => name in given,
  )
  if (contradiction) {
    throw new WseError(
      'WSE_OPTION_INVALID',
      `options mode and ${contradiction}: an echo server has nothing but its echo`,
    )
  }
  const limits = { maxMessageBytes: 16 << 20, maxFragments: 0, rateLimit: false }
  return { envelope: false, ...limits, compression: { thresholdBytes: 0 }, ...given }
}

/** Validates `options`. Throws `WSE_OPTION_INVALID` or `WSE_OPTION_UNKNOWN`, which name the option. */
export function settings(options: ServerOptions): Settings {
  if (typeof options !== 'object' || options === null) throw invalid('options', 'an object')
  const given = options.mode === 'echo' ? echoing(options) : (options as Record<string, unknown>)
  const { logger, logLevel, drainOnSigterm, authorizeTimeoutMs, authorizeCacheMs, ...complete } = read(
    schema,
    given,
    '',
  )
  if (complete.perMessageDeflate && !complete.compression) {
    throw new WseError(
      'WSE_OPTION_INVALID',
      'options perMessageDeflate and compression: without a level nothing is compressed',
    )
  }
  const tokens = complete.jwt as Tokens | null
  if (tokens && complete.authenticate) {
    throw new WseError('WSE_OPTION_INVALID', 'options jwt and authenticate both say who connects: give one of them')
  }
  if (complete.signing && !complete.envelope) {
    throw new WseError('WSE_OPTION_INVALID', 'options signing and envelope: only envelopes are signed')
  }
  if (complete.recovery && !complete.envelope) {
    throw new WseError('WSE_OPTION_INVALID', 'options recovery and envelope: only envelopes have a place in a log')
  }
  const logged = (complete.topicPolicies as { recovery: boolean | null }[]).findIndex(({ recovery }) => recovery)
  if (logged >= 0 && !complete.recovery) {
    const message = `options topicPolicies[${logged}].recovery and recovery: there are no logs without the option recovery`
    throw new WseError('WSE_OPTION_INVALID', message)
  }
  const { maxDataBytes } = (complete.presence ?? {}) as { maxDataBytes?: number }
  if (maxDataBytes !== undefined && !complete.envelope) {
    throw new WseError('WSE_OPTION_INVALID', 'options presence and envelope: presence is told by envelopes')
  }
  const longest = complete.maxMessageBytes as number
  if (maxDataBytes !== undefined && longest > 0 && maxDataBytes + AROUND_PRESENCE > longest) {
    throw new WseError(
      'WSE_OPTION_INVALID',
      `options presence.maxDataBytes and maxMessageBytes: ${AROUND_PRESENCE} bytes more have to fit into a message`,
    )
  }
  // The engine keeps nothing that nobody will be told.
  const told = logger && logLevel !== 'silent' ? logLevel : undefined
  const { publishTimeoutMs, ...outbound } = complete.outbound as Record<string, number>
  const verifier = tokens && { ...tokens, jwks: initialKeys(tokens.jwks) }
  return {
    json: JSON.stringify({ ...complete, outbound, jwt: verifier, logLevel: told }),
    path: complete.path as string,
    publishTimeoutMs: publishTimeoutMs as number,
    handshakeTimeoutMs: complete.handshakeTimeoutMs as number,
    maxHandshakes: complete.maxHandshakes as number,
    trustProxy: complete.trustProxy as number,
    envelope: complete.envelope as boolean,
    inbound: complete.inbound as InboundLimits,
    presence: complete.presence as PresenceLimits,
    authenticate: options.authenticate,
    authorize: options.authorize,
    authorizeTimeoutMs: authorizeTimeoutMs as number,
    authorizeCacheMs: authorizeCacheMs as number,
    jwks: tokens?.jwks ?? undefined,
    drainOnSigterm: (drainOnSigterm ?? undefined) as Pace | undefined,
    logger: (logger ?? undefined) as Logger | undefined,
    logLevel: logLevel as LogLevel,
  }
}

function initialKeys(origin: Origin | null): string | null {
  try {
    return origin?.initial() ?? null
  } catch (cause) {
    throw invalid('jwt.jwks', `a file that can be read: ${(cause as Error).message}`)
  }
}
