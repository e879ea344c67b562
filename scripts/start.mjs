// `npm start`: everything that the example needs, then the example itself. Works on a bare clone.
import { ensureBuilt } from './addon.mjs'
import { ensurePackages } from './packages.mjs'
import { become, script } from './process.mjs'

await script(async () => {
  await ensurePackages()
  await ensureBuilt()
  // In memory the desk would forget its orders, and who is signed in, whenever it is stopped.
  process.env.DESK_DATA ??= 'examples/trading-desk/data'
  become('tsx', ['examples/trading-desk/server.ts'])
})
