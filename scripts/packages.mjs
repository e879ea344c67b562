// The npm packages of the repository: are they the ones that the lock names, and if not, install them.
import { readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { announce, root, run } from './process.mjs'

// The scripts start the packages' commands by name; without `npm run` nobody has put them on the path.
process.env.PATH = join(root, 'node_modules', '.bin') + delimiter + process.env.PATH

/** Packages that are part of ours, although only its build needs them: the command's WebSocket client. */
export const BUNDLED = ['ws']

/** Installs what the lock names, unless exactly that is installed already. */
export async function ensurePackages() {
  if (isInstalled()) return
  announce('Installing the npm packages')
  // Not `npm ci`: it refuses a lock that lacks binaries for other platforms, and a registry may not have them all.
  // Versions are the lock's, and the lock stays as it is.
  await run('npm', ['install', '--no-save', '--no-audit', '--no-fund'])
}

/** npm keeps a lock of what it installed; packages for other platforms are missing from it. */
function isInstalled() {
  const wanted = packagesOf('package-lock.json')
  const present = packagesOf('node_modules/.package-lock.json')
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === '') return true
    return present[path] ? present[path].integrity === entry.integrity : entry.optional === true
  })
}

function packagesOf(lock) {
  try {
    return JSON.parse(readFileSync(join(root, lock), 'utf8')).packages
  } catch (error) {
    if (error.code === 'ENOENT') return {}
    throw error
  }
}
