// `npm run check`: everything that can be said about the sources without running them. Runs all, then sums up.
import { ensurePackages } from './packages.mjs'
import { announce, observe, script } from './process.mjs'
import { ensureCompilers } from './toolchain.mjs'

const checks = [
  ['Rust format', 'cargo', ['fmt', '--all', '--check']],
  ['Rust lints', 'cargo', ['clippy', '--workspace', '--all-targets', '--locked', '--', '-D', 'warnings']],
  ['Types', 'tsc', ['-p', 'tsconfig.json']],
  // Apart, because Next's types change those of Node.js for everybody.
  ['Types of the Next example', 'tsc', ['-p', 'examples/hosts/tsconfig.next.json']],
  ['Lints and format', 'biome', ['check', '--error-on-warnings']],
  ['Documentation', 'node', ['scripts/docs.mjs']],
  ['Licences and bans', 'node', ['scripts/licences.mjs']],
]

await script(async () => {
  await ensurePackages()
  await ensureCompilers()
  const failed = []
  for (const [name, command, args] of checks) {
    announce(name)
    const { code } = await observe(command, args)
    if (code !== 0) failed.push(name)
  }
  console.log(failed.length === 0 ? '\nAll checks passed.' : `\nFailed: ${failed.join(', ')}.`)
  if (failed.length > 0) process.exitCode = 1
})
