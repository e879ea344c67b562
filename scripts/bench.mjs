// `npm run bench`: everything that the benchmarks need, then the benchmarks; arguments are passed on to them.
import { ensureBuilt } from './addon.mjs'
import { ensurePackages } from './packages.mjs'
import { become, script } from './process.mjs'

await script(async () => {
  await ensurePackages()
  await ensureBuilt()
  become('node', ['benchmark/run.mjs', ...process.argv.slice(2)])
})
