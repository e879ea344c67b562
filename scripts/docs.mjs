// `npm run docs`: the site of docs/ in .cache/site, the reference generated from the sources included; fails on a dead
// link. `npm run docs -- dev` serves the site while its pages change.
import { join } from 'node:path'
import { deadLinks } from './links.mjs'
import { ensurePackages } from './packages.mjs'
import { announce, become, root, run, script } from './process.mjs'

await script(async () => {
  await ensurePackages()
  announce('Reference from the sources')
  await run('typedoc', ['--options', 'docs/typedoc.json'])
  if (process.argv[2] === 'dev') {
    become('vitepress', ['dev', 'docs'])
    return
  }
  announce('Site')
  await run('vitepress', ['build', 'docs'])
  announce('Links')
  const { count, dead } = deadLinks(join(root, '.cache', 'site'))
  for (const link of dead) console.error(link)
  if (dead.length > 0) process.exitCode = 1
  else console.log(`${count} links within the site, all alive.`)
})
