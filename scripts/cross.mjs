// `npm run cross [platform…]`: the addons of all Linux platforms from one Linux machine, into .cache/cross/.
// Zig is compiler and linker; it also sets the oldest glibc that an addon runs on, whatever the machine here has.
// Asks the network (Rust's standard library for the targets, Zig from PyPI), so it is no part of `npm test`.
import { copyFileSync, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { announce, observe, root, run, script } from './process.mjs'
import { ensureCompilers } from './toolchain.mjs'

const TARGETS = {
  'linux-x64-gnu': 'x86_64-unknown-linux-gnu',
  'linux-arm64-gnu': 'aarch64-unknown-linux-gnu',
  'linux-x64-musl': 'x86_64-unknown-linux-musl',
  'linux-arm64-musl': 'aarch64-unknown-linux-musl',
}

/** Debian 10, RHEL 8: what Node.js 20 itself asks for. */
const GLIBC_FLOOR = '2.28'

const TOOLS = ['ziglang==0.17.1', 'cargo-zigbuild==0.24.0']
const venv = join(root, '.cache', 'cross-tools')
const output = join(root, '.cache', 'cross')

await script(async () => {
  const platforms = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(TARGETS)
  const unknown = platforms.filter((platform) => !Object.hasOwn(TARGETS, platform))
  if (unknown.length > 0) throw new Error(`No cross build of ${unknown}; there is ${Object.keys(TARGETS).join(', ')}`)
  await ensureCompilers()
  await ensureTools()
  mkdirSync(output, { recursive: true })
  const failed = []
  for (const platform of platforms) {
    announce(`Building ${platform}`)
    if (!(await build(platform))) failed.push(platform)
  }
  if (failed.length > 0) throw new Error(`Not built: ${failed.join(', ')}`)
})

async function ensureTools() {
  process.env.PATH = join(venv, 'bin') + delimiter + process.env.PATH
  if (existsSync(join(venv, 'bin', 'cargo-zigbuild'))) return
  announce('Installing Zig')
  await run('python3', ['-m', 'venv', venv])
  await run('pip', ['install', '--quiet', ...TOOLS])
}

async function build(platform) {
  const target = TARGETS[platform]
  const isGnu = platform.endsWith('gnu')
  if ((await observe('rustup', ['target', 'add', target])).code !== 0) {
    console.error(`Rust's standard library for ${target} cannot be had here.`)
    return false
  }
  const args = ['zigbuild', '--release', '--locked', '--package', 'wse-napi', '--target']
  const suffixed = isGnu ? `${target}.${GLIBC_FLOOR}` : target
  // A library for Node.js needs the shared musl; Rust's default there is a static one, which knows no shared libraries.
  const flags = `CARGO_TARGET_${target.toUpperCase().replaceAll('-', '_')}_RUSTFLAGS`
  const env = isGnu ? {} : { [flags]: '-C target-feature=-crt-static' }
  if ((await observe('cargo', [...args, suffixed], { env })).code !== 0) return false

  const folder = process.env.CARGO_TARGET_DIR ?? join(root, 'target')
  const built = join(folder, target, 'release', 'libwse_napi.so')
  if (isGnu && !isWithinFloor(built)) return false
  copyFileSync(built, join(output, `wse-server.${platform}.node`))
  console.log(`${platform}: ${statSync(built).size} bytes`)
  return true
}

/** Whether the library asks for no symbol that came after the floor: its versions stand in it as text. */
function isWithinFloor(path) {
  const versions = readFileSync(path, 'latin1').matchAll(/\0GLIBC_(\d+)\.(\d+)[.\d]*(?=\0)/g)
  const newest = Math.max(...Array.from(versions, ([, major, minor]) => Number(major) * 1000 + Number(minor)))
  const [major, minor] = GLIBC_FLOOR.split('.').map(Number)
  const text = `${Math.floor(newest / 1000)}.${newest % 1000}`
  if (newest <= major * 1000 + minor) {
    console.log(`Needs glibc ${text} or newer; the floor is ${GLIBC_FLOOR}.`)
    return true
  }
  console.error(`Asks for glibc ${text}, the floor is ${GLIBC_FLOOR}.`)
  return false
}
