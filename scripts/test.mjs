// `npm test`: installs, builds, and runs every test of every language. Works on a bare clone.
// Its last line is the sum: `N passed, N failed, N skipped`. With CI=true a skipped test fails the run.
import { ensureBuilt } from './addon.mjs'
import { ensurePackages } from './packages.mjs'
import { announce, observe, script } from './process.mjs'
import { ensureEnvironments } from './python.mjs'
import { ensureRuntimes } from './runtimes.mjs'
import { countCargo, countTap, Tally } from './tally.mjs'
import { ensureCompilers, findChromium, findNginx } from './toolchain.mjs'

const tally = new Tally()

await script(async () => {
  await ensurePackages()
  await ensureCompilers()
  await ensureBuilt()
  const chromium = await findChromium()
  await ensureRuntimes()
  await ensureEnvironments()
  const nginx = await findNginx()

  if (process.env.CI === 'true') {
    announce('The committed loader is the one that the build writes')
    const diff = await observe('git', ['diff', '--exit-code', '--stat', '--', 'binding.cjs', 'binding.d.ts'])
    tally.addStep(diff.code === 0)
  }

  announce('Types')
  tally.addStep((await observe('tsc', ['-p', 'tsconfig.json'])).code === 0)

  announce('Rust tests')
  tally.add(countCargo(await observe('cargo', ['test', '--workspace', '--locked', '--no-fail-fast'])))

  announce('Models of what threads share')
  // Everything below the engine is built anew for the model checker, in a folder of its own.
  const models = ['--package', 'wse-engine', '--test', 'models', '--profile', 'models', '--target-dir', 'target/models']
  const loom = { RUSTFLAGS: '--cfg loom', LOOM_MAX_PREEMPTIONS: '3' }
  tally.add(countCargo(await observe('cargo', ['test', ...models, '--locked'], { env: loom })))

  announce('Tests of what users touch')
  const env = { ...(chromium && { CHROMIUM: chromium }), ...(nginx && { NGINX_PATH: nginx }) }
  tally.add(countTap(await observe('ava', ['--tap', ...process.argv.slice(2)], { env })))
})

if (process.exitCode) tally.addStep(false)
if (tally.failed > 0 || (process.env.CI === 'true' && tally.skipped > 0)) process.exitCode = 1
console.log(`\n${tally}`)
