/** What it costs the application's thread to make a domain event an envelope, from its JSON to the envelope's. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { versionsOf } from '../versions.mjs'

const PROGRAM = fileURLToPath(new URL('../transform-events.mjs', import.meta.url))

export default {
  name: 'transform',
  title: 'One domain event of 420 bytes to an envelope',
  unit: 'µs CPU',
  isHigherBetter: false,
  peers: [
    { name: 'wse-text', label: 'wse-server, from text', ...transforming('text') },
    { name: 'wse-batch', label: 'wse-server, from text, 256 in a call', ...transforming('batch') },
    { name: 'wse-object', label: 'wse-server, from an object', ...transforming('object') },
    { name: 'plain-text', label: 'JavaScript, from text', ...transforming('plain-text') },
    { name: 'plain-object', label: 'JavaScript, from an object', ...transforming('plain-object') },
  ],
  async run({ peer, timing }) {
    const { stdout } = await promisify(execFile)(process.execPath, [PROGRAM, peer.way, String(timing.measureMs)])
    return JSON.parse(stdout)
  },
}

function transforming(way) {
  return { way, versions: versionsOf('wse-server') }
}
