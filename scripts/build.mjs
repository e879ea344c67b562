// `npm run build`: the packages, the addon and the facade, each only if it is not up to date.
// `npm run build -- facade` leaves the addon as it is, and needs no Rust.
import { ensureBuilt } from './addon.mjs'
import { ensurePackages } from './packages.mjs'
import { script } from './process.mjs'

await script(async () => {
  await ensurePackages()
  await ensureBuilt(process.argv.length > 2 ? process.argv.slice(2) : undefined)
})
