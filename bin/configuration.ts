/**
 * The configuration of `serve`: a file, the environment and flags, made into the options of a server.
 *
 * Owns the order in which they win and knows where each setting came from. Never what an option may be: that is said
 * by the schema of the options, and checked by the server.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { extname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type ListenOptions, type ServerOptions, WseError } from 'wse-server'
import { textSettings } from '../lib/config.js'
import type { Setting } from '../lib/schema.js'
import { UsageError } from './arguments.js'
import { parseJson } from './json.js'

/** A setting with its names. */
interface NamedSetting extends Setting {
  /** In the environment: `WSE_JWT_ISSUER`. */
  readonly variable: string
  /** On the command line: `jwt-issuer`. */
  readonly flag: string
}

/** A setting's value and who gave it. */
interface Given {
  readonly path: string
  readonly value: unknown
  readonly source: string
}

type Tree = Record<string, unknown>

const secondsOf = (text: string): unknown => (/^\d+(\.\d+)?$/.test(text) ? Math.round(Number(text) * 1_000) : text)

/** Names from before the options had theirs; their units are their own. */
const OLDER = [{ variable: 'WSE_HEARTBEAT_INTERVAL', path: 'heartbeatIntervalMs', fromText: secondsOf }]
/** Variables of this prefix that are no settings of a server. */
const OTHERS = new Set(['WSE_TOKEN'])

const words = (path: string): string[] => path.replaceAll(/[A-Z]/g, ' $&').split(/[ .]/)

/** Every setting that a flag or a variable can give. */
export const SETTINGS: readonly NamedSetting[] = textSettings().map((setting) => ({
  ...setting,
  variable: `WSE_${words(setting.path).join('_').toUpperCase()}`,
  flag: words(setting.path).join('-').toLowerCase(),
}))

/** What a server is made of, and where it came from. */
export class Configuration {
  readonly #sources: Map<string, string>
  readonly #file: string | undefined
  readonly options: ServerOptions
  readonly address: ListenOptions

  private constructor(tree: Tree, sources: Map<string, string>, file: string | undefined) {
    const { host, port = 8000, tls, ...options } = tree
    this.options = options as ServerOptions
    this.address = { host, port, tls } as ListenOptions
    this.#sources = sources
    this.#file = file
  }

  /** Flags win over the environment, and that over the file. Throws {@link UsageError} for two names of one setting. */
  static async read(
    file: string | undefined,
    environment: NodeJS.ProcessEnv,
    flags: Record<string, string[]>,
  ): Promise<Configuration> {
    const tree = file === undefined ? {} : await readFile(file)
    const sources = new Map<string, string>()
    for (const layer of [ofEnvironment(environment), ofFlags(flags)]) {
      rejectContradiction(layer)
      for (const { path, value, source } of layer) {
        put(tree, path.split('.'), value)
        sources.set(path, source)
      }
    }
    return new Configuration(tree, sources, file)
  }

  /** What the server says of an option, with the place that it came from; other errors stay as they are. */
  explain(cause: unknown): unknown {
    if (!(cause instanceof WseError) || !/^WSE_(OPTION|TLS)_/.test(cause.code)) return cause
    const named = /^option (?:listen\.)?([\w.]+)/.exec(cause.message)?.[1] ?? ''
    const path = cause.code === 'WSE_TLS_INVALID' ? 'tls' : named.replace(/^listen$/, '')
    const isIt = (other: string) => `${other}.`.startsWith(`${path}.`) || `${path}.`.startsWith(`${other}.`)
    const places = [...this.#sources].filter(([other]) => isIt(other)).map(([, source]) => source)
    const place = places.length > 0 ? places.join(', ') : this.#file
    return new UsageError(place === undefined ? cause.message : `${cause.message} (${place})`)
  }
}

/** Variables of our prefix that no setting has: a misspelt one is not to be silent. */
export function unknownVariables(environment: NodeJS.ProcessEnv): string[] {
  const known = new Set([...SETTINGS, ...OLDER].map(({ variable }) => variable))
  return Object.keys(environment).filter((name) => /^WSE_/.test(name) && !known.has(name) && !OTHERS.has(name))
}

/** An empty variable is an absent one. */
function ofEnvironment(environment: NodeJS.ProcessEnv): Given[] {
  return [...SETTINGS, ...OLDER].flatMap(({ path, variable, fromText }) => {
    const text = environment[variable]
    return text ? [{ path, value: fromText(text), source: variable }] : []
  })
}

function ofFlags(flags: Record<string, string[]>): Given[] {
  return SETTINGS.flatMap(({ path, flag, fromText }) => {
    const texts = flags[flag] ?? []
    if (texts.length === 0) return []
    const values = texts.map(fromText)
    // A list may be given item by item.
    const isList = values.every(Array.isArray)
    if (values.length > 1 && !isList) throw new UsageError(`--${flag} is given ${values.length} times`)
    return [{ path, value: isList ? values.flat() : values[0], source: `--${flag}` }]
  })
}

/** One setting by two names, or a group beside one of its members: nobody can say which is meant. */
function rejectContradiction(layer: Given[]): void {
  for (const [index, { path, source }] of layer.entries()) {
    const other = layer.slice(index + 1).find((given) => given.path === path || given.path.startsWith(`${path}.`))
    if (other) throw new UsageError(`${source} and ${other.source} both set option ${path}: give one of them`)
  }
}

function put(tree: Tree, path: string[], value: unknown): void {
  const [name = '', ...rest] = path
  if (rest.length === 0) {
    tree[name] = value
    return
  }
  const inner = tree[name]
  const isGroup = typeof inner === 'object' && inner !== null && !Array.isArray(inner)
  const copy: Tree = isGroup ? { ...inner } : {}
  put(copy, rest, value)
  tree[name] = copy
}

async function readFile(path: string): Promise<Tree> {
  const value = extname(path) === '.json' ? readJson(path) : await readModule(path)
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value }
  throw new UsageError(`${path}: expected an object with options`)
}

function readJson(path: string): unknown {
  let text: string
  try {
    // Without the mark that some editors put before a text.
    text = new TextDecoder().decode(readFileSync(path))
  } catch (cause) {
    throw unreadable(cause)
  }
  return parseJson(path, text)
}

/** The default export of a module. Options that are functions need one. */
async function readModule(path: string): Promise<unknown> {
  if (!/\.[cm]?[jt]s$/.test(path)) throw new UsageError(`${path}: expected .json, .mjs, .js or .ts`)
  const module = await import(pathToFileURL(resolve(path)).href).catch((cause: NodeJS.ErrnoException) => {
    const isTypeScript = /ts$/.test(path)
    if (isTypeScript && cause.code === 'ERR_UNKNOWN_FILE_EXTENSION') {
      const version = process.version
      throw new UsageError(
        `${path}: Node.js ${version} loads no TypeScript; 22.18 and newer do, or write the file as .mjs`,
      )
    }
    if (cause.code === 'ERR_MODULE_NOT_FOUND' && cause.message.includes(resolve(path))) throw unreadable(cause)
    throw new UsageError(`${path} failed: ${cause.message}`)
  })
  if (module.default === undefined) throw new UsageError(`${path}: expected a default export with options`)
  return module.default
}

const unreadable = (cause: unknown): UsageError =>
  new UsageError(`cannot read the configuration: ${(cause as Error).message}`)
