// Python and its packages, for what is tested against programs that are written in it.
// As a program, `node scripts/python.mjs NAME PACKAGE…`: its last line is the folder of the environment's commands.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { announce, root, run, script } from './process.mjs'
import { findPython } from './toolchain.mjs'

/** Virtual environments are kept apart from each other: packages of two purposes need not agree. */
const folder = join(root, '.cache', 'python')

/**
 * Makes the virtual environment `name` have exactly these packages (`name==version`), and returns the folder of its
 * commands. Throws an error that says how to get Python where there is none.
 */
export async function ensureEnvironment(name, packages) {
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
  const [, , name, ...packages] = process.argv
  await script(async () => console.log(await ensureEnvironment(name, packages)))
}
