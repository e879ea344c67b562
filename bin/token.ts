/**
 * `token`: makes tokens, and says what is in one and whether a server would take it.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { decodeJwt, encodeJwt, type JwtOptions, WseError } from 'wse-server'
import { type Command, milliseconds, named, parsed, UsageError } from './arguments.js'
import { parseObject } from './json.js'
import { inspect } from './jwt.js'
import { escaped } from './output.js'

const usage = (): string => `Usage: wse-server token --sub USER [flags]
       wse-server token inspect [TOKEN] [flags]

The first prints a new token. The second prints, as JSON, what is in one, and whether a server with this key would take
it (exit code 0) or not, and why (1); without TOKEN, or with -, it is read from the standard input.

  --secret-env NAME   the variable that holds the secret; default JWT_SECRET
  --key-file FILE     the secret, or the key in PEM, in a file instead
  --alg NAME          the algorithm; default HS256
  --issuer TEXT       iss: set, or expected
  --audience TEXT     aud: set, or expected

For a new one:
  --sub USER          the user id
  --ttl SECONDS       how long it is good; default 3600
  --claims JSON       further claims
  --kid TEXT          the key's id in the header`

const FLAGS = {
  'secret-env': { type: 'string' },
  'key-file': { type: 'string' },
  alg: { type: 'string', default: 'HS256' },
  issuer: { type: 'string' },
  audience: { type: 'string' },
} as const

const MAKING = {
  ...FLAGS,
  sub: { type: 'string' },
  ttl: { type: 'string', default: '3600' },
  claims: { type: 'string', default: '{}' },
  kid: { type: 'string' },
} as const

/** The key that the flags name; undefined: they name none, and the usual variable is not set. */
function keyOf(flags: { 'secret-env'?: string | undefined; 'key-file'?: string | undefined }): string | undefined {
  const { 'secret-env': variable, 'key-file': file } = flags
  if (file === undefined) {
    const secret = process.env[variable ?? 'JWT_SECRET']
    if (variable !== undefined && !secret) throw new UsageError(`the variable ${variable} of --secret-env is not set`)
    return secret || undefined
  }
  if (variable !== undefined) throw new UsageError('--secret-env and --key-file both name the key: give one of them')
  try {
    return readFileSync(file, 'utf8').trimEnd()
  } catch (cause) {
    throw new UsageError(`--key-file: ${(cause as Error).message}`)
  }
}

function make(args: string[]): number {
  const { values, positionals } = parsed(args, MAKING)
  named(positionals, [])
  const { sub, ttl, alg, claims, issuer, audience, kid } = values
  if (!sub) throw new UsageError('--sub is missing: the user id; try --help')
  const key = keyOf(values)
  if (key === undefined) throw new UsageError('no key: set JWT_SECRET, or give --secret-env or --key-file')
  const iat = Math.floor(Date.now() / 1_000)
  const exp = iat + Math.round(milliseconds('ttl', ttl, Number.MAX_SAFE_INTEGER) / 1_000)
  const own = { sub, iat, exp, ...(issuer && { iss: issuer }), ...(audience && { aud: audience }) }
  const header = { alg: alg as 'HS256', ...(kid && { kid }) }
  const all = { ...parseObject('--claims', claims), ...own }
  try {
    console.log(encodeJwt(all, key, header))
    return 0
  } catch (cause) {
    // The key and the claims are what was given.
    throw cause instanceof WseError ? new UsageError(cause.message) : cause
  }
}

async function look(args: string[]): Promise<number> {
  const { values, positionals } = parsed(args, FLAGS)
  const [given = '-'] = named(positionals, ['token'], 0)
  const token = (given === '-' ? await text(process.stdin) : given).trim()
  const { alg: algorithm, issuer, audience } = values
  const key = keyOf(values)
  const inspection = inspect(token, { algorithm, issuer, audience, now: Date.now() })
  if (inspection === null) {
    const faults = ['this is no token: expected three parts in base64url, with dots between']
    console.log(JSON.stringify({ verdict: 'refused', faults }, null, 2))
    return 1
  }
  const { header, claims, faults } = inspection
  // What is wrong is said there; whether anything is wrong is said by what a server decides with.
  const means = { ...(issuer && { issuer }), ...(audience && { audience }) }
  if (key !== undefined && faults.length === 0) faults.push(...refusals(token, key, algorithm ?? header.alg, means))
  const ends = typeof claims.exp === 'number' ? new Date(claims.exp * 1_000) : null
  // A number can be past all dates.
  const expires = ends && Number.isFinite(ends.valueOf()) ? ends.toISOString() : null
  const verdict = faults.length > 0 ? 'refused' : key !== undefined ? 'good' : 'good, if the signature is'
  const lines = JSON.stringify({ header, claims, expires, verdict, faults }, null, 2).split('\n')
  for (const line of lines) console.log(escaped(line))
  return faults.length > 0 ? 1 : 0
}

function* refusals(
  token: string,
  key: string,
  algorithm: unknown,
  expected: Pick<JwtOptions, 'issuer' | 'audience'>,
): Generator<string> {
  try {
    const means = algorithm === 'HS256' ? { secret: key } : { publicKey: key }
    decodeJwt(token, { ...means, ...expected, algorithm: algorithm as NonNullable<JwtOptions['algorithm']> })
  } catch (cause) {
    yield (cause as Error).message
  }
}

const run = async (args: string[]): Promise<number> => (args[0] === 'inspect' ? look(args.slice(1)) : make(args))

export const token: Command = { usage, run }
