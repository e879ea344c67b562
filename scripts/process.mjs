// Child processes of the scripts: starts them in the repository, shows what they print, hands it back.
// Knows nothing about what is started.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/** The repository's root folder; every child runs there. */
export const root = fileURLToPath(new URL('..', import.meta.url))

/** A command that a script cannot go on without did not succeed. */
export class CommandFailed extends Error {
  constructor(command, code) {
    super(`${command} ended with code ${code}`)
    this.name = 'CommandFailed'
  }
}

/** Commands of npm's packages are batch files on Windows, which only a shell starts. No argument here needs quotes. */
const shell = process.platform === 'win32'

/**
 * Runs a command to its end and resolves to `{ code, lines }`; standard output is shown as it comes and collected.
 *
 * `quiet` collects without showing. A command that cannot be started has the code 127, as in a shell.
 */
export function observe(command, args, { env, quiet = false } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', quiet ? 'ignore' : 'inherit'],
      shell,
    })
    const lines = []
    const reader = createInterface({ input: child.stdout })
    reader.on('line', (line) => {
      lines.push(line)
      if (!quiet) console.log(line)
    })
    const drained = new Promise((done) => reader.on('close', done))
    child.on('error', () => resolve({ code: 127, lines }))
    child.on('close', (code) => drained.then(() => resolve({ code: code ?? 1, lines })))
  })
}

/** Runs a command to its end and throws `CommandFailed` unless it succeeded. */
export async function run(command, args, options) {
  const { code } = await observe(command, args, options)
  if (code !== 0) throw new CommandFailed([command, ...args].join(' '), code)
}

/** Runs a command in the foreground, signals passed on to it, and ends this process with its exit code. */
export function become(command, args) {
  const child = spawn(command, args, { cwd: root, stdio: 'inherit', shell })
  // The terminal signals the whole group: this process only waits for the child then.
  process.on('SIGINT', () => {})
  process.on('SIGTERM', () => child.kill('SIGTERM'))
  child.on('error', (error) => {
    console.error(error.message)
    process.exit(127)
  })
  child.on('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 1)))
}

/** Runs the body of a script: a failed step ends it with one line and code 1, not with a stack. */
export async function script(body) {
  try {
    await body()
  } catch (error) {
    console.error(error instanceof CommandFailed ? error.message : error)
    process.exitCode = 1
  }
}

/** Says which step has begun. */
export function announce(step) {
  console.log(`\n▸ ${step}`)
}
