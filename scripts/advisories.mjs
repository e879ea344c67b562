// `npm run advisories`: known vulnerabilities of what ships, in both languages. Asks the network, so only the
// release workflow runs it: a new advisory must not turn an old commit red.
import { ensurePackages } from './packages.mjs'
import { announce, observe, run, script } from './process.mjs'
import { ensureCompilers } from './toolchain.mjs'

await script(async () => {
  await ensurePackages()
  await ensureCompilers()
  announce('Advisories of the npm packages that ship')
  await run('npm', ['audit', '--omit=dev'])
  announce('Advisories of the crates')
  if ((await observe('cargo', ['deny', '--version'], { quiet: true })).code !== 0) {
    await run('cargo', ['install', 'cargo-deny', '--locked', '--version', '0.20.2'])
  }
  await run('cargo', ['deny', 'check', 'advisories'])
})
