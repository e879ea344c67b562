// `npm run advisories`: known vulnerabilities of what ships, in both languages. Asks the network, so only the
// release workflow runs it: a new advisory must not turn an old commit red.
import { BUNDLED, ensurePackages } from './packages.mjs'
import { announce, observe, run, script } from './process.mjs'
import { ensureCompilers } from './toolchain.mjs'

await script(async () => {
  await ensurePackages()
  await ensureCompilers()
  announce('Advisories of the npm packages that ship')
  await run('npm', ['audit', '--omit=dev'])
  await auditBundled()
  announce('Advisories of the crates')
  if ((await observe('cargo', ['deny', '--version'], { quiet: true })).code !== 0) {
    await run('cargo', ['install', 'cargo-deny', '--locked', '--version', '0.20.2'])
  }
  await run('cargo', ['deny', 'check', 'advisories'])
})

/** Those that are bundled are no dependencies of ours to npm: looked up among all of the repository's. */
async function auditBundled() {
  const { lines } = await observe('npm', ['audit', '--json'], { quiet: true })
  const { vulnerabilities, message } = JSON.parse(lines.join('\n'))
  if (vulnerabilities === undefined) throw new Error(`npm audit gave no report: ${message}`)
  const vulnerable = BUNDLED.filter((name) => Object.hasOwn(vulnerabilities, name))
  if (vulnerable.length > 0) throw new Error(`Bundled and vulnerable: ${vulnerable.join(', ')}; see \`npm audit\``)
}
