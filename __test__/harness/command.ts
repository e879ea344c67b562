// The command as users start it: the built program, in a process of its own.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'
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
