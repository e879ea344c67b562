// Publishes the tarballs of .cache/tarballs/, as they are: `node scripts/publish.mjs [--dry-run]`.
// The library comes last, so that nobody can install it before its addons. What is published already is left out:
// a run that broke off can be started again.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { announce, observe, root, run, script } from './process.mjs'

const TARBALL = /^(wse-server.*?)-(\d+\.\d+\.\d+.*)\.tgz$/

await script(async () => {
  const { values } = parseArgs({ options: { 'dry-run': { type: 'boolean', default: false } } })
  const tarballs = readdirSync(join(root, '.cache', 'tarballs'))
    .map((file) => ({ file, name: TARBALL.exec(file)?.[1], version: TARBALL.exec(file)?.[2] }))
    .sort((one, other) => other.name.length - one.name.length)
  for (const { file, name, version } of tarballs) {
    announce(`${name} ${version}`)
    const { code, lines } = await observe('npm', ['view', `${name}@${version}`, 'version'], { quiet: true })
    if (code === 0 && lines.includes(version)) {
      console.log('Published already.')
      continue
    }
    const args = ['publish', `.cache/tarballs/${file}`, '--access', 'public']
    if (version.includes('-')) args.push('--tag', 'next')
    if (values['dry-run']) args.push('--dry-run')
    await run('npm', args)
  }
})
