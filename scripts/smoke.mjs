// `npm run smoke`: what clients and applications rely on, tested on the packages of .cache/tarballs/ as they will be
// published. The addon and dist/ come out of the tarballs; nothing is compiled, and Rust is not needed.
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { ensurePackages } from './packages.mjs'
import { announce, root, run, script } from './process.mjs'

const SPECS = ['behaviour', 'broadcast', 'topics'].map((name) => `__test__/${name}.spec.ts`)

await script(async () => {
  await ensurePackages()
  announce('Unpacking')
  rmSync(join(root, 'dist'), { recursive: true, force: true })
  const tarballs = readdirSync(join(root, '.cache', 'tarballs'))
  for (const name of tarballs.filter((each) => each.startsWith(`wse-server-${process.platform}-${process.arch}`))) {
    await unpack(name, `package/${name.replace(/^wse-server-(.+?)-\d.*$/, 'wse-server.$1.node')}`)
  }
  await unpack(
    tarballs.find((name) => /^wse-server-\d/.test(name)),
    'package/dist',
  )
  announce(`Testing on ${process.platform}-${process.arch}, Node.js ${process.version}`)
  await run('ava', SPECS)
})

/** Unpacks one file or folder of a package into the repository. */
function unpack(tarball, member) {
  // Relative, because some versions of tar take what stands before a colon, a drive's letter too, for another machine.
  return run('tar', ['-xzf', `.cache/tarballs/${tarball}`, '--strip-components=1', member])
}
