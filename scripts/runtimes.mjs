// The runtimes that the tests host the engine in: Node.js in each supported version, Bun and Deno.
// As a program: installs what is missing and prints a line for each, `name<tab>path of the executable`.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { announce, root, run, script } from './process.mjs'

/** Kept apart from node_modules: they are large, and nothing imports them. */
const folder = join(root, '.cache', 'runtimes')
const versions = { node20: '20.20.2', node22: '22.23.3', node24: '24.21.0', node26: '26.10.0' }
const platform = process.platform === 'win32' ? 'win' : process.platform
const executable = process.platform === 'win32' ? 'node.exe' : 'node'

/** Installs the versions of Node.js that are missing; returns the path of each runtime by its name. */
export async function ensureRuntimes() {
  const own = `node${process.versions.node.split('.')[0]}`
  const others = Object.entries(versions).filter(([name]) => name !== own)
  if (!others.every(([name, version]) => installed(name) === version)) {
    announce(`Installing Node.js ${others.map(([, version]) => version).join(', ')} for the tests of runtimes`)
    mkdirSync(folder, { recursive: true })
    const packages = others.map(([name, version]) => [name, `npm:node-${platform}-${process.arch}@${version}`])
    const manifest = { private: true, dependencies: Object.fromEntries(packages) }
    writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest))
    await run('npm', [
      'install',
      '--prefix',
      folder,
      '--ignore-scripts',
      '--no-package-lock',
      '--no-audit',
      '--no-fund',
    ])
  }
  const command = (name) => join(root, 'node_modules', '.bin', name)
  return {
    ...Object.fromEntries(others.map(([name]) => [name, join(folder, 'node_modules', name, 'bin', executable)])),
    [own]: process.execPath,
    bun: command('bun'),
    deno: command('deno'),
  }
}

function installed(name) {
  try {
    return JSON.parse(readFileSync(join(folder, 'node_modules', name, 'package.json'), 'utf8')).version
  } catch (error) {
    if (error.code === 'ENOENT') return null
    throw error
  }
}

if (process.argv[1] === import.meta.filename) {
  await script(async () => {
    for (const [name, path] of Object.entries(await ensureRuntimes())) console.log(`${name}\t${path}`)
  })
}
