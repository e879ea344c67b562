// The Python client of PyPI, as users install it, in a process of its own.
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { ExecutionContext } from 'ava'
import type { ServerOptions } from 'wse-server'
import { Child } from './child.js'
import { startRelay } from './relay.js'
import { Application, startServer } from './server.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

let python = ''

/** Finds the Python client for all of a file's tests, or installs it; to be called before the first of them. */
export async function installPython(): Promise<void> {
  const script = join(root, 'scripts', 'python.mjs')
  const { stdout } = await promisify(execFile)(process.execPath, [script, 'client'])
  python = join(stdout.trimEnd().split('\n').at(-1) ?? '', 'python')
}

/** Runs a Python program of this repository; killed when the test is over. */
export function runPython(
  t: ExecutionContext,
  path: string,
  args: string[] = [],
  env: Record<string, string> = {},
): Child {
  // A proxy of the environment is not for servers of this machine.
  const child = new Child([join(root, path), ...args], { NO_PROXY: '*', ...env }, python)
  t.teardown(() => child.kill())
  return child
}

/** What the client hands to its user: a message that it took apart. */
export interface PythonEvent {
  type: string
  payload: Record<string, unknown>
  id: string | null
  sequence: number | null
  timestamp: string | null
  version: number
  category: string | null
  priority: number | null
  correlation_id: string | null
  signature: string | null
  /** The stamp of a publication to a topic with a log. */
  topic: string | null
  epoch: string | null
  offset: number | null
}

export interface PythonOptions {
  /** Added to the URL; the client adds its own parameters behind it. */
  query?: string
  /** Arguments of the client, in its own spelling. */
  arguments?: Record<string, unknown>
  /** How long it waits before it comes back, in seconds. Default: 0.05; the client's own is 1. */
  reconnectDelay?: number
  /** Constants of its module `connection`, in seconds where they are times. */
  constants?: Record<string, number>
  /** Whether its calls return at once, or block. Default: true. */
  isAsync?: boolean
}

interface Line {
  id?: number
  value?: unknown
  error?: string
  event?: PythonEvent
  log?: string
}

export class PythonClient {
  readonly #child: Child
  #calls = 0

  constructor(t: ExecutionContext, { port }: { port: number }, options: PythonOptions) {
    const { query = '', arguments: args = {}, reconnectDelay = 0.05, constants = {}, isAsync = true } = options
    this.#child = runPython(t, '__test__/python/client.py')
    const url = `ws://127.0.0.1:${port}/wse${query}`
    const reconnect = { base_delay: reconnectDelay, jitter: false }
    this.#child.say(JSON.stringify({ url, isAsync, constants, reconnect, arguments: args }))
  }

  /** What a member of the client's interface returns, or is. Rejects with what it raises. */
  async call(member: string, args: unknown[] = [], keywords: Record<string, unknown> = {}): Promise<unknown> {
    const id = ++this.#calls
    this.#child.say(JSON.stringify({ id, member, arguments: args, keywords }))
    const { value, error } = await this.#next((line) => line.id === id)
    if (error !== undefined) throw new Error(error)
    return value
  }

  /** Connects, and waits for nothing: one that is kept out takes ten seconds to say so. */
  open(): void {
    this.call('connect').catch(() => {})
  }

  /** The next event of this type; earlier ones of other types stay. */
  async next(type: string): Promise<PythonEvent> {
    return (await this.#next(({ event }) => event?.type === type)).event as PythonEvent
  }

  /** Resolves once the client has logged this, or has so before. */
  async logged(text: string): Promise<string> {
    return (await this.#next(({ log }) => log?.includes(text) === true)).log as string
  }

  /** Subscribes and waits for the answer, which the client keeps for itself. */
  async subscribe(topics: string[]): Promise<void> {
    await this.call('subscribe', [topics])
    await this.logged('Subscribed to: ')
  }

  /** What has come and was not taken. */
  get waiting(): readonly Line[] {
    return this.#child.waiting.map((line) => JSON.parse(line) as Line)
  }

  async #next(matches: (line: Line) => boolean): Promise<Line> {
    return JSON.parse(await this.#child.nextLine((line) => matches(JSON.parse(line) as Line))) as Line
  }
}

/** A client that is connected, and has been greeted. */
export async function connectPython(
  t: ExecutionContext,
  server: { port: number },
  options: PythonOptions = {},
): Promise<PythonClient> {
  const client = new PythonClient(t, server, options)
  await client.call('connect')
  return client
}

/** A server that grants every topic, a client that is connected to it through a wire, and the connection's id. */
export async function startPython(t: ExecutionContext, options: PythonOptions = {}, serverOptions: ServerOptions = {}) {
  const server = await startServer(t, { topics: { allow: ['*'] }, ...serverOptions })
  const application = new Application(server)
  const relay = await startRelay(t, server)
  const client = await connectPython(t, relay, options)
  const { connId } = await application.next('connect')
  return { server, application, relay, client, connId }
}
