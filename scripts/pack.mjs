// `npm run pack`: the packages as they are published, one tarball for each in .cache/tarballs/.
// Packs the root and every platform whose addon lies in the repository's root; a release has all of them (`--all`).
// Never builds: what is packed is what was tested.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { announce, root, run, script } from './process.mjs'

/** What only the repository needs of its package.json. */
const PRIVATE = ['scripts', 'devDependencies', 'allowScripts', 'ava', 'napi']

await script(async () => {
  const { all } = parseArgs({ options: { all: { type: 'boolean', default: false } } }).values
  const manifest = manifestOf('.')
  const platforms = readdirSync(join(root, 'npm')).map((name) => ({ folder: join('npm', name), ...binaryOf(name) }))
  const present = platforms.filter(({ binary }) => existsSync(join(root, binary)))
  const missing = platforms.filter((platform) => !present.includes(platform)).map(({ binary }) => binary)
  if (missing.length > 0) {
    if (all) throw new Error(`A release has all addons; missing: ${missing.join(', ')}`)
    console.log(`Without an addon, so not packed: ${missing.join(', ')}`)
  }
  const stray = platforms.filter(({ version }) => version !== manifest.version)
  if (stray.length > 0) throw new Error(`Versions differ: set them with \`node scripts/version.mjs\``)

  const tarballs = join(root, '.cache', 'tarballs')
  rmSync(tarballs, { recursive: true, force: true })
  mkdirSync(tarballs, { recursive: true })
  for (const { folder, binary } of present) {
    await pack(manifestOf(folder), [join(folder, 'README.md'), 'LICENSE', binary], tarballs)
  }
  // Exact: an addon and the facade of another version do not know each other. Not committed: before a release the
  // platforms' packages do not exist, and `npm install` in the repository would look for them.
  const optionalDependencies = Object.fromEntries(platforms.map(({ name, version }) => [name, version]))
  const published = Object.fromEntries(Object.entries(manifest).filter(([key]) => !PRIVATE.includes(key)))
  await pack({ ...published, optionalDependencies }, [...manifest.files, 'README.md', 'LICENSE'], tarballs)
})

function manifestOf(folder) {
  return JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'))
}

function binaryOf(platform) {
  const { name, version, main } = manifestOf(join('npm', platform))
  return { name, version, binary: main }
}

async function pack(manifest, files, tarballs) {
  announce(`Packing ${manifest.name}`)
  const stage = join(root, '.cache', 'stage', manifest.name)
  rmSync(stage, { recursive: true, force: true })
  for (const file of files)
    cpSync(join(root, file), join(stage, file.replace(/^npm\/[^/]+\//, '')), { recursive: true })
  writeFileSync(join(stage, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
  await run('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', tarballs, stage])
}
