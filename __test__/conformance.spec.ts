// The well-known cases for RFC 6455, written by others, against echo servers. What counts are the verdicts of the report.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import type { ServerOptions } from 'wse-server'
import { serveOn } from './harness/host.js'
import { startServer } from './harness/server.js'

type Group = [pattern: string, cases: number]

/** How many cases a group has: one that was not run would not be missed otherwise. */
const groups: Group[] = [
  ['1.*', 16],
  ['2.*', 11],
  ['3.*', 7],
  ['4.*', 10],
  ['5.*', 20],
  ['6.*', 145],
  ['7.*', 37],
  ['9.*', 54],
  ['10.*', 1],
]
/** Of permessage-deflate, messages of 64 and 4096 bytes; `npm run conformance` has the others. */
const deflate: Group[] = [
  ['12.*.2', 5],
  ['12.*.5', 5],
  ['13.*.2', 7],
  ['13.*.5', 7],
]

const options: ServerOptions = { mode: 'echo', path: '/', perMessageDeflate: true }
const keeping = { ...options, perMessageDeflate: { serverContextTakeover: true, clientContextTakeover: true } }
const servers: [title: string, cases: Group[], open: (t: ExecutionContext) => Promise<{ port: number }>][] = [
  ['a port of its own', [...groups, ...deflate], (t) => startServer(t, options)],
  ['a port of its own with context takeover', deflate, (t) => startServer(t, keeping)],
  ['the port of a host', [...groups, ...deflate], (t) => serveOn(t, createServer(), options)],
  ['streams of a host', [...groups, ...deflate], (t) => serveOn(t, createServer(), options, { via: 'stream' })],
]

for (const [title, cases, open] of servers) {
  test.serial(`passes every case strictly on ${title}`, async (t) => {
    t.timeout(600_000)
    const { port } = await open(t)
    const patterns = cases.map(([pattern]) => pattern)
    const program = fileURLToPath(new URL('../scripts/conformance.mjs', import.meta.url))
    const child = spawn(process.execPath, [program, '--address', `127.0.0.1:${port}`, ...patterns])
    t.teardown(() => child.kill())
    child.stderr.pipe(process.stderr)
    const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'close')])
    const names = Array.from(output.matchAll(/^([\d.]+)\t.+\t.+$/gm), ([, name = '']) => name)
    for (const [pattern, count] of cases) {
      const isOfGroup = new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '[\\d.]+')}$`)
      t.is(names.filter((name) => isOfGroup.test(name)).length, count, `cases ${pattern}`)
    }
    t.is(code, 0, output)
  })
}
