// What the build and the tests need from the system: Rust, a C compiler, a browser, a proxy, Python.
// On Debian as root the missing ones are installed; elsewhere the command is printed.
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { announce, observe } from './process.mjs'

/** Makes `cargo` and a C compiler available, or throws an error that says how to get them. */
export async function ensureCompilers() {
  const cargoHome = process.env.CARGO_HOME ?? join(homedir(), '.cargo')
  process.env.PATH += delimiter + join(cargoHome, 'bin')
  if (!(await has('cargo'))) {
    throw new Error('Rust 1.89 or newer is needed to build the addon: install it with rustup, then run this again.')
  }
  if (process.platform !== 'win32' && !(await has('cc'))) {
    await installFromDebian('build-essential', 'a C compiler')
    if (!(await has('cc'))) throw new Error('A C compiler is needed to build the addon.')
  }
}

/** Path of a Chromium for the tests of the page, or null after having said how to get one. */
export async function findChromium() {
  const known = () => [process.env.CHROMIUM, '/usr/bin/chromium'].find((path) => path && existsSync(path)) ?? null
  if (known() === null) await installFromDebian('chromium', 'Chromium, which the tests of the page need,')
  return known()
}

/** Path of an nginx for the tests of the documented proxy, or null after having said how to get one. */
export async function findNginx() {
  const known = () => [process.env.NGINX_PATH, '/usr/sbin/nginx'].find((path) => path && existsSync(path)) ?? null
  if (known() === null) await installFromDebian('nginx', 'nginx, which the tests of the proxy need,')
  return known()
}

/** Name of a Python that can make virtual environments, or null after having said how to get one. */
export async function findPython() {
  const command = process.platform === 'win32' ? 'python' : 'python3'
  // Debian's own Python lacks this module until python3-venv is there.
  const isThere = async () => (await observe(command, ['-m', 'ensurepip', '--version'], { quiet: true })).code === 0
  if (!(await isThere())) {
    await installFromDebian('python3-venv', 'Python with venv, which the tests against its programs need,')
    if (!(await isThere())) return null
  }
  return command
}

async function installFromDebian(name, purpose) {
  const command = `apt-get update && apt-get install -y ${name}`
  if (process.getuid?.() !== 0 || !existsSync('/etc/debian_version')) {
    console.log(`${purpose} is missing. On Debian: sudo sh -c '${command}'`)
    return
  }
  announce(`Installing ${purpose} from Debian's packages: ${name}`)
  const { code } = await observe('sh', ['-c', command], { env: { DEBIAN_FRONTEND: 'noninteractive' } })
  if (code !== 0) console.log(`That did not succeed. By hand: ${command}`)
}

async function has(command) {
  return (await observe(command, ['--version'], { quiet: true })).code === 0
}
