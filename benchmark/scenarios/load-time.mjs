/** The first `import` or `require` of a package in a fresh process, timed inside of it. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { median } from '../measure.mjs'
import { versionsOf } from '../versions.mjs'

const PROGRAM = fileURLToPath(new URL('../load-module.mjs', import.meta.url))
const PROCESSES = 20

export default {
  name: 'load-time',
  title: 'First import or require in a fresh process',
  unit: 'ms',
  isHigherBetter: false,
  peers: [
    { name: 'wse-import', label: 'wse-server, import', ...loading('import', 'wse-server') },
    { name: 'wse-require', label: 'wse-server, require', ...loading('require', 'wse-server') },
    { name: 'ws', label: 'ws, import', ...loading('import', 'ws') },
    { name: 'ws-require', label: 'ws, require', ...loading('require', 'ws') },
    { name: 'socketio', label: 'Socket.IO, import', ...loading('import', 'socket.io') },
    { name: 'socketio-require', label: 'Socket.IO, require', ...loading('require', 'socket.io') },
  ],
  async run({ peer }) {
    const times = []
    for (let started = 0; started < PROCESSES; started++) {
      const { stdout } = await promisify(execFile)(process.execPath, [PROGRAM, ...peer.load])
      times.push(Number(stdout))
    }
    return { value: median(times), least: Math.min(...times), most: Math.max(...times) }
  },
}

function loading(how, name) {
  return { load: [how, name], versions: versionsOf(name) }
}
