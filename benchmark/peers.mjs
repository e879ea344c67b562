/**
 * Who is compared: how each server is started, and with which options of the benchmark's own.
 *
 * `isCharted: false` keeps a row out of the charts, where a rate of another kind would dwarf the rest.
 */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url))
const node = (file) => [process.execPath, '--expose-gc', path(`servers/${file}`)]

/** Where the Rust programs of `benchmark/load` are built. */
export const rustProgram = (name) => `${process.env.CARGO_TARGET_DIR ?? path('load/target')}/release/${name}`

export const peers = [
  { name: 'wse', label: 'wse-server', command: node('wse.mjs'), options: { envelope: false } },
  {
    name: 'wse-ahead',
    label: 'wse-server, 64 turns ahead',
    command: node('wse.mjs'),
    options: { envelope: false, aheadTurns: 64 },
    isCharted: false,
  },
  { name: 'wse-envelope', label: 'wse-server, envelopes', command: node('wse.mjs'), options: { envelope: true } },
  { name: 'ws', label: 'ws', command: node('ws.mjs'), options: {} },
  { name: 'socketio', label: 'Socket.IO', command: node('socketio.mjs'), options: {} },
  { name: 'bun', label: 'Bun', command: [bunProgram(), path('servers/bun.mjs')], options: {} },
  { name: 'tokio', label: 'tokio-tungstenite', command: [rustProgram('peer-tokio')], options: {} },
]

/** The runtime that the npm package brings, which its install step may have left in either place. */
function bunProgram() {
  const places = ['../node_modules/bun/bin/bun.exe', '../node_modules/@oven/bun-linux-x64/bin/bun'].map(path)
  return places.find(existsSync) ?? 'bun'
}
