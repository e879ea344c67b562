/**
 * Where a client goes and what it takes with it: the address, the token, headers, whom it trusts.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { rootCertificates } from 'node:tls'
import { milliseconds, UsageError } from './arguments.js'

/** The flags of every subcommand that connects. */
export const TARGET_FLAGS = {
  token: { type: 'string' },
  header: { type: 'string', multiple: true },
  ca: { type: 'string' },
  timeout: { type: 'string', default: '10' },
} as const

export const TARGET_USAGE = `  --token TOKEN      who connects; default: the variable WSE_TOKEN, which no list of processes shows
  --header TEXT      a header of the request, 'Name: value'; may be repeated
  --ca FILE          a certificate in PEM that is trusted besides, for servers that signed their own
  --timeout SECONDS  for each step of connecting; default 10`

export interface Target {
  /** With the scheme `ws:` or `wss:`. */
  readonly url: URL
  readonly token: string | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly ca: string | undefined
  readonly timeoutMs: number
}

interface Flags {
  token?: string | undefined
  header?: string[] | undefined
  ca?: string | undefined
  timeout: string
}

/** The target that arguments describe. */
export function targetOf(address: string, { token, header = [], ca, timeout }: Flags): Target {
  const timeoutMs = milliseconds('timeout', timeout)
  if (timeoutMs === 0) throw new UsageError('--timeout: without any time nothing can be reached')
  return {
    url: urlOf(address),
    token: token ?? (process.env.WSE_TOKEN || undefined),
    headers: Object.fromEntries(header.map(headerOf)),
    ca: ca === undefined ? undefined : textOf(ca),
    timeoutMs,
  }
}

/** All headers of the upgrade, the token's too. */
export const headersOf = ({ token, headers }: Target): Record<string, string> =>
  token === undefined ? { ...headers } : { authorization: `Bearer ${token}`, ...headers }

/** The authorities to trust, where there is one besides those that everybody trusts. */
export const trustOf = ({ ca }: Target): { ca?: string[] } =>
  ca === undefined ? {} : { ca: [...rootCertificates, ca] }

function urlOf(address: string): URL {
  const url = URL.canParse(address) ? new URL(address) : null
  const scheme = { 'ws:': 'ws:', 'wss:': 'wss:', 'http:': 'ws:', 'https:': 'wss:' }[url?.protocol ?? '']
  // Neither is told again: an address can hold a token, and a header most often does.
  if (!url || !scheme) throw new UsageError('the URL is no address: expected one like ws://localhost:8000/wse')
  return new URL(url.href.replace(/^\w+:/, scheme))
}

function headerOf(text: string): [string, string] {
  const [, name, value] = /^([\w!#$%&'*+.^`|~-]+):\s*(.*)$/.exec(text) ?? []
  if (name === undefined || value === undefined) throw new UsageError("--header: expected 'Name: value'")
  return [name.toLowerCase(), value]
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    throw new UsageError(`--ca: ${(cause as Error).message}`)
  }
}
