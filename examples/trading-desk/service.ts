/**
 * The trading desk as a process of its own, for the browser test and the screenshots.
 *
 * Owns the child process. Never knows what the desk does.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const START_DEADLINE_MS = 30_000

export interface Service {
  /** `http://localhost:{port}` */
  url: string
  port: number
  /** Ends the process with `signal` and resolves to its exit code, null when the signal killed it. */
  stop(signal?: 'SIGTERM' | 'SIGKILL'): Promise<number | null>
}

/** Starts the desk on `environment.PORT`, by default a free one, and resolves when it accepts connections. */
export async function startService(environment: Record<string, string>): Promise<Service> {
  const script = fileURLToPath(new URL('server.ts', import.meta.url))
  const child = spawn(process.execPath, ['--import', 'tsx', script], {
    env: { ...process.env, PORT: '0', ...environment },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const url = await address(child)
  return {
    url,
    port: Number(new URL(url).port),
    async stop(signal = 'SIGTERM') {
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode
      child.kill(signal)
      const [code] = await once(child, 'exit')
      return code
    },
  }
}

async function address(child: ChildProcess & { stdout: NodeJS.ReadableStream }): Promise<string> {
  const timer = setTimeout(() => child.kill('SIGKILL'), START_DEADLINE_MS)
  try {
    for await (const line of createInterface(child.stdout)) {
      const url = /http:\/\/localhost:\d+/.exec(line)?.[0]
      if (url !== undefined) return url
    }
  } finally {
    clearTimeout(timer)
    child.stdout.resume()
  }
  throw new Error('the trading desk ended before it printed its address')
}
