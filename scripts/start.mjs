// `npm start`: everything that the example needs, then the example itself. Works on a bare clone.
import { ensureBuilt } from './addon.mjs'
import { ensurePackages } from './packages.mjs'
import { become, script } from './process.mjs'

await script(async () => {
  await ensurePackages()
  await ensureBuilt()
  become('tsx', ['examples/trading-desk/server.ts'])
})
