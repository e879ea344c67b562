// The runtimes that the tests host the engine in: Node.js in each supported version, Bun and Deno.
// As a program: installs what is missing and prints a line for each, `name<tab>path of the executable`.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { announce, root, run, script } from './process.mjs'

/** Kept apart from node_modules: they are large, and nothing imports them. */
const folder = join(root, '.cache', 'runtimes')
const { platform, arch } = process
const suffix = platform === 'win32' ? '.exe' : ''
const nodeOf = (version) => ({
  source: `node-${platform === 'win32' ? 'win' : platform}-${arch}`,
  version,
  executable: join('bin', `node${suffix}`),
})
/** By name: the package that holds the executable for this platform, and where it lies in there. */
const runtimes = {
  node20: nodeOf('20.20.2'),
  node22: nodeOf('22.23.3'),
  node24: nodeOf('24.21.0'),
  node26: nodeOf('26.10.0'),
  deno: {
    source: `@deno/${platform}-${arch}${platform === 'linux' ? '-glibc' : ''}`,
    version: '2.9.6',
    executable: `deno${suffix}`,
  },
}

/** Installs what is missing; returns the path of each runtime by its name. */
export async function ensureRuntimes() {
  const own = `node${process.versions.node.split('.')[0]}`
  const others = Object.entries(runtimes).filter(([name]) => name !== own)
  if (!others.every(([name, { version }]) => installed(name) === version)) {
    announce(`Installing ${others.map(([name, { version }]) => `${name} ${version}`).join(', ')}: hosts of the tests`)
    mkdirSync(folder, { recursive: true })
    const packages = others.map(([name, { source, version }]) => [name, `npm:${source}@${version}`])
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
  const pathOf = ([name, { executable }]) => [name, join(folder, 'node_modules', name, executable)]
  return {
    ...Object.fromEntries(others.map(pathOf)),
    [own]: process.execPath,
    bun: join(root, 'node_modules', '.bin', 'bun'),
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
