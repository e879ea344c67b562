// Installs the tarballs of .cache/tarballs/ into a Debian that has nothing else, and runs the README's first example:
// no compiler, no network, no cache. `node scripts/fresh-debian.mjs [FOLDER]`, as root; needs debootstrap and iproute2.
// The folder keeps the Debian for the next time; without one it is made anew in .cache/debian/.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { transformSync } from 'esbuild'
import { announce, root, run, script } from './process.mjs'

const debian = resolve(process.argv[2] ?? join(root, '.cache', 'debian'))
const project = join(debian, 'srv', 'project')
const require = createRequire(join(root, 'package.json'))

/** Starts the example, chats with it through two connections, and ends with code 0 when the message came through. */
const CLIENT = `
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import WebSocket from 'ws'

const example = spawn(process.execPath, ['example.mjs'], { stdio: ['ignore', 'pipe', 'inherit'] })
const give = (code, text) => { console.log(text); example.kill(); process.exit(code) }
setTimeout(give, 20_000, 1, 'No answer within 20 s.')
example.on('exit', (code) => give(1, 'The example ended with ' + code))
const found = {}
for await (const line of createInterface({ input: example.stdout })) {
  found.port ??= /:(\\d+)/.exec(line)?.[1]
  found.token ??= /eyJ\\S+/.exec(line)?.[0]
  if (found.token) break
}
const open = () => new WebSocket('ws://127.0.0.1:' + found.port + '/wse', { headers: { authorization: 'Bearer ' + found.token } })
const [one, other] = [open(), open()]
let greeted = 0
for (const socket of [one, other]) socket.on('message', (text) => {
  const { t, p } = JSON.parse(text)
  if (t === 'server_ready' && ++greeted === 2) one.send('{"t":"chat","p":{"text":"hello"}}')
  if (t === 'chat' && socket === other) give(p.text === 'hello' ? 0 : 1, 'The example answered: ' + text)
})
`

await script(async () => {
  if (process.argv[2] === undefined) rmSync(debian, { recursive: true, force: true })
  if (!existsSync(join(debian, 'etc', 'debian_version'))) {
    announce('Making a Debian')
    await run('debootstrap', ['--variant=minbase', 'stable', debian])
  }
  announce('Node.js and npm, nothing else')
  const npm = realpathSync(join(dirname(process.execPath), 'npm')).replace(/\/bin\/npm-cli\.js$/, '')
  place(process.execPath, join(debian, 'usr', 'local', 'bin', 'node'))
  place(npm, join(debian, 'srv', 'npm'))

  rmSync(project, { recursive: true, force: true })
  mkdirSync(project, { recursive: true })
  writeFileSync(join(project, 'package.json'), '{ "private": true }\n')
  const tarballs = join(root, '.cache', 'tarballs')
  const wanted = readdirSync(tarballs).filter((name) => /^wse-server-(\d|linux-x64-gnu|linux-arm64-gnu)/.test(name))
  const present = wanted.filter((name) => /^wse-server-\d/.test(name) || name.includes(`-${process.arch}-`))
  for (const name of present) place(join(tarballs, name), join(project, name))
  writeFileSync(join(project, 'example.mjs'), firstExample())
  writeFileSync(join(project, 'client.mjs'), CLIENT)

  announce('Installing without a network')
  await inside(`cd /srv/project && ! command -v cc && ! command -v cargo &&
    node /srv/npm/bin/npm-cli.js install --offline --no-audit --no-fund ${present.map((name) => `./${name}`).join(' ')}`)
  // The host of the example and the client are not the package's: they come from the repository.
  for (const [name, folder] of closure(['express', 'ws'])) {
    place(folder, join(project, 'node_modules', name))
  }
  announce('Running the first example of the README')
  await inside('cd /srv/project && PORT=0 exec node client.mjs')
})

/** Copies a file or a folder anew, its links as they are. */
function place(source, target) {
  rmSync(target, { recursive: true, force: true })
  cpSync(source, target, { recursive: true, verbatimSymlinks: true })
}

/** Runs a line of shell in the Debian, with an empty environment and no network but the loopback. */
function inside(line) {
  const chroot = [
    'chroot',
    debian,
    'env',
    '-i',
    'HOME=/root',
    'PATH=/usr/local/bin:/usr/bin:/bin',
    'PORT=0',
    'sh',
    '-ec',
    line,
  ]
  return run('unshare', ['--net', 'sh', '-ec', 'ip link set lo up; exec "$@"', 'sh', ...chroot])
}

function firstExample() {
  const [, source] = /^```ts\n(.*?)^```$/ms.exec(readFileSync(join(root, 'README.md'), 'utf8'))
  return transformSync(source, { loader: 'ts', format: 'esm' }).code
}

/** Packages and all that they depend on, by their names. */
function closure(names, found = new Map()) {
  for (const name of names.filter((each) => !found.has(each))) {
    const folder = join(root, 'node_modules', name)
    found.set(name, folder)
    closure(Object.keys(require(join(folder, 'package.json')).dependencies ?? {}), found)
  }
  return found
}
