/**
 * Who is compared: how each server is started, and with which options of the benchmark's own.
 *
 * `isCharted: false` keeps a row out of the charts, where a rate of another kind would dwarf the rest. A row that
 * `isBackground` has one round in a quick run. A peer that `isSecure` gets a certificate, and clients inside TLS; the
 * `algorithm` of a peer is that of its clients' tokens, HS256 unless it says otherwise.
 */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url))
const node = (file) => [process.execPath, '--expose-gc', path(`servers/${file}`)]

/** Where the Rust programs of `benchmark/load` are built. */
export const rustProgram = (name) => `${process.env.CARGO_TARGET_DIR ?? path('load/target')}/release/${name}`

export const peers = [
  wse('wse', 'wse-server'),
  { ...wse('wse-ahead', 'wse-server, 64 turns ahead', { aheadTurns: 64 }), isCharted: false, isBackground: true },
  { ...wse('wse-envelope', 'wse-server, envelopes', { envelope: true }), isBackground: true },
  wse('wse-recovery', 'wse-server, recovery', { envelope: true, settings: { recovery: true } }),
  wse('wse-presence', 'wse-server, presence', { envelope: true, settings: { presence: true } }),
  wse('wse-descriptor', 'wse-server, descriptor', { host: 'node' }),
  wse('wse-stream', 'wse-server, stream', { host: 'node', via: 'stream' }),
  wse('wse-http', 'wse-server on node:http', { host: 'node' }),
  wse('wse-express', 'wse-server on Express', { host: 'express' }),
  wse('wse-fastify', 'wse-server on Fastify', { host: 'fastify' }),
  wse('wse-koa', 'wse-server on Koa', { host: 'koa' }),
  wse('wse-hono', 'wse-server on Hono', { host: 'hono' }),
  wse('wse-nest', 'wse-server on Nest', { host: 'nest' }),
  { ...wse('wse-tls', 'wse-server, own port'), isSecure: true },
  { ...wse('wse-https', 'wse-server on node:https', { host: 'node' }), isSecure: true },
  ...['HS256', 'RS256', 'ES256'].flatMap((algorithm) => [
    { ...wse(`wse-${algorithm.toLowerCase()}`, `wse-server, ${algorithm}`, { host: 'node' }), algorithm },
    {
      name: `ws-${algorithm.toLowerCase()}`,
      label: `ws and jsonwebtoken, ${algorithm}`,
      command: node('ws.mjs'),
      options: {},
      algorithm,
    },
  ]),
  { name: 'ws', label: 'ws', command: node('ws.mjs'), options: {} },
  { name: 'ws-https', label: 'ws on node:https', command: node('ws.mjs'), options: {}, isSecure: true },
  { name: 'socketio', label: 'Socket.IO', command: node('socketio.mjs'), options: {}, isBackground: true },
  {
    name: 'socketio-recovery',
    label: 'Socket.IO, connection state recovery',
    command: node('socketio.mjs'),
    options: { connectionStateRecovery: {} },
    isBackground: true,
  },
  { name: 'bun', label: 'Bun', command: [bunProgram(), path('servers/bun.mjs')], options: {} },
  { name: 'tokio', label: 'tokio-tungstenite', command: [rustProgram('peer-tokio')], options: {}, isBackground: true },
]

function wse(name, label, options) {
  return { name, label, command: node('wse.mjs'), options: { envelope: false, ...options } }
}

/** The runtime that the npm package brings, which its install step may have left in either place. */
function bunProgram() {
  const places = ['../node_modules/bun/bin/bun.exe', '../node_modules/@oven/bun-linux-x64/bin/bun'].map(path)
  return places.find(existsSync) ?? 'bun'
}
