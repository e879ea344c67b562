// `npm run fuzz -- [TARGET] [SECONDS]`: runs one fuzz target, or each of them, for so long (60 s). Needs Rust's nightly.
// What it finds on the way stays in .cache/fuzz; what breaks a target is in fuzz/artifacts, and its kept form belongs
// into fuzz/corpus, where every test run sees it.
import { mkdirSync, readdirSync } from 'node:fs'
import { join, parse } from 'node:path'
import { announce, observe, root, run, script } from './process.mjs'
import { ensureCompilers } from './toolchain.mjs'

const VERSION = '0.13.2'
const cache = join(root, '.cache', 'fuzz')
const targets = readdirSync(join(root, 'fuzz', 'targets')).map((file) => parse(file).name)

await script(async () => {
  const [wanted, seconds = '60'] = process.argv.slice(2)
  if (wanted !== undefined && !targets.includes(wanted)) throw new Error(`Targets are ${targets.join(', ')}.`)
  await ensureCompilers()
  const tool = join(cache, 'tools', 'bin', 'cargo-fuzz')
  if ((await observe(tool, ['--version'], { quiet: true })).lines[0] !== `cargo-fuzz ${VERSION}`) {
    announce('Installing cargo-fuzz')
    await run('cargo', ['install', '--locked', '--root', join(cache, 'tools'), `cargo-fuzz@${VERSION}`])
  }
  // Fuzzing builds into the folder of its own, whatever that of the other builds is.
  const env = { RUSTUP_TOOLCHAIN: 'nightly', CARGO_TARGET_DIR: join(cache, 'target') }
  for (const target of wanted === undefined ? targets : [wanted]) {
    announce(`Fuzzing ${target} for ${seconds} s`)
    const found = join(cache, 'corpus', target)
    mkdirSync(found, { recursive: true })
    const limits = [`-max_total_time=${seconds}`, '-max_len=4096', '-print_final_stats=1']
    await run(tool, ['run', target, found, join('fuzz', 'corpus', target), '--', ...limits], { env })
  }
})
