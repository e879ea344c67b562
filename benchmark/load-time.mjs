// How long the first `require` and the first `import` of the package take, each in a process of its own, and what the
// addon and the library weigh: `node benchmark/load-time.mjs [rounds]`. Prints JSON, milliseconds and bytes.
import { execFileSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const rounds = Number(process.argv[2] ?? 21)
const ways = {
  require: ['commonjs', "require('wse-server')"],
  import: ['module', "await import('wse-server')"],
  // For comparison, on the same machine at the same time.
  requireWs: ['commonjs', "require('ws')"],
}

function once([type, load]) {
  const program = `const begin = performance.now(); ${load}; console.log(performance.now() - begin)`
  return Number(execFileSync(process.execPath, [`--input-type=${type}`, '--eval', program], { cwd: root }))
}

/** The middle one and the slowest of all rounds; the first, which warms the file cache, does not count. */
function measure(way) {
  once(way)
  const times = Array.from({ length: rounds }, () => once(way)).sort((one, other) => one - other)
  return { medianMs: round(times[times.length >> 1]), slowestMs: round(times.at(-1)) }
}

const round = (ms) => Math.round(ms * 100) / 100
const sizeOf = (folder, matches) =>
  readdirSync(new URL(folder, import.meta.url))
    .filter(matches)
    .reduce((sum, name) => sum + statSync(new URL(folder + name, import.meta.url)).size, 0)

const report = {
  node: process.version,
  rounds,
  ...Object.fromEntries(Object.entries(ways).map(([name, way]) => [name, measure(way)])),
  addonBytes: sizeOf('../', (name) => name.startsWith(`wse-server.${process.platform}-${process.arch}`)),
  libraryBytes: sizeOf('../dist/', () => true),
}
console.log(JSON.stringify(report, null, 2))
