// The built form of the sources: the addon from crates/, the facade from index.ts and lib/.
// Builds only what is older than its sources, which it knows by a hash of them.
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { announce, root, run } from './process.mjs'
import { ensureCompilers } from './toolchain.mjs'

const addon = {
  name: 'addon',
  sources: ['Cargo.toml', 'Cargo.lock', 'build.rs', 'crates'],
  isBuilt: () => readdirSync(root).some((file) => file.startsWith(`wse-server.${process.platform}-${process.arch}`)),
  async build() {
    await ensureCompilers()
    announce('Building the addon (some two minutes the first time)')
    await run('napi', [
      'build',
      '--platform',
      '--release',
      ...['--manifest-path', 'crates/wse-napi/Cargo.toml'],
      ...['--output-dir', '.'],
      ...['--js', 'binding.cjs'],
      ...['--dts', 'binding.d.ts'],
    ])
  },
}

const facade = {
  name: 'facade',
  sources: ['index.ts', 'lib', 'bin', 'binding.d.ts', 'tsconfig.json', 'tsdown.config.ts'],
  isBuilt: () => statSync(join(root, 'dist', 'index.cjs'), { throwIfNoEntry: false }) !== undefined,
  async build() {
    announce('Bundling the facade')
    await run('tsdown', [])
  },
}

/** Builds the addon and the facade, or the named ones, where they are missing or older than their sources. */
export async function ensureBuilt(names = ['addon', 'facade']) {
  for (const part of [addon, facade].filter(({ name }) => names.includes(name))) {
    const digest = digestOf(part.sources)
    if (part.isBuilt() && stampOf(part.name) === digest) continue
    await part.build()
    mkdirSync(join(root, '.cache'), { recursive: true })
    writeFileSync(stampPath(part.name), digest)
  }
}

const stampPath = (name) => join(root, '.cache', `${name}.sha256`)

function stampOf(name) {
  try {
    return readFileSync(stampPath(name), 'utf8')
  } catch (error) {
    if (error.code === 'ENOENT') return null
    throw error
  }
}

function digestOf(paths) {
  const hash = createHash('sha256')
  const visit = (path) => {
    const full = join(root, path)
    if (statSync(full).isDirectory()) {
      for (const name of readdirSync(full).sort()) visit(join(path, name))
    } else {
      hash.update(`${path}\0`).update(readFileSync(full)).update('\0')
    }
  }
  for (const path of paths) visit(path)
  return hash.digest('hex')
}
