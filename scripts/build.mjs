// `npm run build`: the packages, the addon and the facade, each only if it is not up to date.
import { ensureBuilt } from './addon.mjs'
import { ensurePackages } from './packages.mjs'
import { script } from './process.mjs'

await script(async () => {
  await ensurePackages()
  await ensureBuilt()
})
