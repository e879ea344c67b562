// Programs of tests that need a process of their own: how a process exits, what it weighs.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'
import { Arrivals, within } from './arrivals.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

export class Child {
  readonly #process
  readonly #lines = new Arrivals<string>()
  #errors = ''
  readonly #exit: Promise<{ code: number | null; signal: string | null; errors: string }>

  constructor(
    args: string[],
    env: Record<string, string> = {},
    command = process.execPath,
    cwd = root,
    isBare = false,
  ) {
    const child = spawn(command, args, { cwd, env: isBare ? env : { ...process.env, ...env } })
    this.#process = child
    child.stderr.on('data', (chunk) => {
      this.#errors += chunk
    })
    const reader = createInterface({ input: child.stdout })
    reader.on('line', (line) => this.#lines.push(line))
    reader.on('close', () => this.#lines.end(this.#errors || 'the output of the child ended'))
    this.#exit = new Promise((resolve) =>
      child.on('close', (code, signal) => resolve({ code, signal, errors: this.#errors })),
    )
  }

  nextLine(matches?: (line: string) => boolean): Promise<string> {
    return this.#lines.next('a line of the child', matches)
  }

  /** Lines that have come and were not taken. */
  get waiting(): readonly string[] {
    return this.#lines.waiting
  }

  /** What has come on its standard error. */
  get errors(): string {
    return this.#errors
  }

  say(line: string): void {
    this.#process.stdin.write(`${line}\n`)
  }

  /** Ends the child's standard input. */
  finish(): void {
    this.#process.stdin.end()
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    this.#process.kill(signal)
  }

  exited(): Promise<{ code: number | null; signal: string | null; errors: string }> {
    return within(this.#exit, 'the exit of a child')
  }
}

/** Runs a module given as text, as if it stood in the repository's root; killed when the test is over. */
export function runModule(t: ExecutionContext, source: string, flags: string[] = []): Child {
  const child = new Child([...flags, '--input-type=module', '--eval', source])
  t.teardown(() => child.kill())
  return child
}

/** Runs a TypeScript file; killed when the test is over. */
export function runFile(
  t: ExecutionContext,
  path: string,
  env: Record<string, string> = {},
  flags: string[] = [],
): Child {
  const child = new Child([...flags, '--import=tsx', path], env)
  t.teardown(() => child.kill())
  return child
}

/** Runs a program of `__test__/programs`, by another runtime if `command` names one; killed when the test is over. */
export function runProgram(t: ExecutionContext, name: string, args: string[] = [], command: string[] = []): Child {
  const [runtime = process.execPath, ...flags] = command
  const child = new Child([...flags, `__test__/programs/${name}.mjs`, ...args], {}, runtime)
  t.teardown(() => child.kill())
  return child
}
