/** What an installation downloads and keeps: the packages as they are packed for the registry. */
import { execFile } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { versionsOf } from '../versions.mjs'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const run = (command, args) => promisify(execFile)(command, args, { cwd: ROOT })
/** The addon of this machine; more are packed where they were built. */
const PLATFORM = `${process.platform}-${process.arch}`
const versions = versionsOf('wse-server', 'ws')
let packing = null

export default {
  name: 'package-size',
  title: 'Size of the packages',
  unit: 'bytes',
  isHigherBetter: false,
  peers: [
    { name: 'wse-root', label: 'wse-server, packed', versions, bytes: () => packed(/^wse-server-\d/) },
    { name: 'wse-platform', label: `${PLATFORM}, packed`, bytes: () => packed(`wse-server-${PLATFORM}`) },
    { name: 'wse-binary', label: `${PLATFORM}, the binary`, bytes: binary },
    { name: 'ws', label: 'ws, packed', versions, bytes: () => packedElsewhere('ws') },
  ],
  async run({ peer }) {
    return { value: await peer.bytes() }
  },
}

async function packed(pattern) {
  packing ??= run('node', ['scripts/pack.mjs'])
  await packing
  return sizeOf(`${ROOT}.cache/tarballs/`, pattern)
}

async function binary() {
  return sizeOf(ROOT, `wse-server.${PLATFORM}`)
}

async function packedElsewhere(name) {
  const { stdout } = await run('npm', ['pack', '--dry-run', '--json', `./node_modules/${name}`])
  return JSON.parse(stdout)[0].size
}

function sizeOf(folder, pattern) {
  const name = readdirSync(folder).find((file) => file.match(pattern))
  if (name === undefined) throw new Error(`nothing in ${folder} matches ${pattern}`)
  return statSync(folder + name).size
}
