// Python and its packages, for what is tested against programs that are written in it.
// As a program, `node scripts/python.mjs NAME`: its last line is the folder of the environment's commands.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { announce, root, run, script } from './process.mjs'
import { findPython } from './toolchain.mjs'

const folder = join(root, '.cache', 'python')

/** The packages of each virtual environment, kept apart from each other: those of two purposes need not agree. */
const environments = {
  /** The client that our users have, and what it uses where it is there. */
  client: ['wse-client==2.5.1', 'websockets==17.4', 'cryptography==50.0.2', 'msgpack==1.2.4', 'rfc8785==0.1.4'],
  /** Runs the case files of the Autobahn test suite, whose own runner needs a Python that nobody has any more. */
  conformance: ['kosoku==0.1.0'],
}

/**
 * Makes each virtual environment, or says how to get Python. Tests that run beside each other share an environment, and
 * none of them may make it while another does.
 */
export async function ensureEnvironments() {
  if ((await findPython()) === null) return
  for (const name of Object.keys(environments)) await ensureEnvironment(name)
}

/**
 * Makes the virtual environment `name` have exactly its packages, and returns the folder of its commands. Throws an
 * error that says how to get Python where there is none.
 */
export async function ensureEnvironment(name) {
  const packages = environments[name]
  const environment = join(folder, name)
  const commands = join(environment, process.platform === 'win32' ? 'Scripts' : 'bin')
  const wanted = `${packages.join('\n')}\n`
  // Written last: what was interrupted is made anew.
  const list = join(environment, 'packages.txt')
  if (read(list) === wanted) return commands
  const python = await findPython()
  if (python === null) throw new Error(`Python with venv is needed for ${packages.join(', ')}.`)
  announce(`Installing ${packages.join(', ')}`)
  mkdirSync(folder, { recursive: true })
  await run(python, ['-m', 'venv', '--clear', environment])
  await run(join(commands, 'pip'), ['install', '--quiet', '--disable-pip-version-check', ...packages])
  writeFileSync(list, wanted)
  return commands
}

function read(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (error.code === 'ENOENT') return null
    throw error
  }
}

if (process.argv[1] === import.meta.filename) {
  await script(async () => console.log(await ensureEnvironment(process.argv[2])))
}
