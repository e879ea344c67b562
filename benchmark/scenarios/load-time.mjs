/** The first `import` or `require` of a package in a fresh process, timed inside of it. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { median } from '../measure.mjs'

const PROGRAM = fileURLToPath(new URL('../load-module.mjs', import.meta.url))
const PROCESSES = 20

export default {
  name: 'load-time',
  title: 'First import or require in a fresh process',
  unit: 'ms',
  isHigherBetter: false,
  peers: [
    { name: 'wse-import', label: 'wse-server, import', module: 'wse-server', how: 'import' },
    { name: 'wse-require', label: 'wse-server, require', module: 'wse-server', how: 'require' },
    { name: 'ws', label: 'ws, import', module: 'ws', how: 'import' },
    { name: 'ws-require', label: 'ws, require', module: 'ws', how: 'require' },
    { name: 'socketio', label: 'Socket.IO, import', module: 'socket.io', how: 'import' },
    { name: 'socketio-require', label: 'Socket.IO, require', module: 'socket.io', how: 'require' },
  ],
  async run({ peer }) {
    const times = []
    for (let started = 0; started < PROCESSES; started++) {
      const { stdout } = await promisify(execFile)(process.execPath, [PROGRAM, peer.how, peer.module])
      times.push(Number(stdout))
    }
    return { value: median(times), least: Math.min(...times), most: Math.max(...times) }
  },
}
