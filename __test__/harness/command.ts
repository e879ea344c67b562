// The command as users start it: the built program, in a process of its own.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'
import { within } from './arrivals.js'
import { Child } from './child.js'

export const program = fileURLToPath(new URL('../../dist/wse-server.js', import.meta.url))

/** Starts the command; killed when the test is over. `flags` are those of Node.js. */
export function run(
  t: ExecutionContext,
  args: string[],
  env: Record<string, string> = {},
  flags: string[] = [],
): Child {
  const child = new Child([...flags, program, ...args], env)
  t.teardown(() => child.kill())
  return child
}

/** Starts the command without anybody who reads what it prints; killed when the test is over. */
export function runUnread(
  t: ExecutionContext,
  args: string[],
  output: 'pipe' | number = 'pipe',
): { child: ChildProcess; errors: () => string; exit: Promise<unknown[]> } {
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', output, 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  let errors = ''
  child.stderr?.on('data', (chunk) => {
    errors += chunk
  })
  return { child, errors: () => errors, exit: within(once(child, 'close'), 'the end of the command') }
}

/** A file with this text, in a folder of its own; removed when the test is over. */
export function written(t: ExecutionContext, name: string, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'wse-command-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

/** Everything that a command prints until it ends, and how it ends. */
export async function finished(child: Child): Promise<{ code: number | null; output: string; errors: string }> {
  const { code, errors } = await child.exited()
  return { code, output: child.waiting.join('\n'), errors }
}
