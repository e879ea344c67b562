// The well-known cases for RFC 6455, written by others, against echo servers. What counts are the verdicts of the report.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { serveOn } from './harness/host.js'
import { startServer } from './harness/server.js'

/** How many cases a group has: one that was not run would not be missed otherwise. */
const groups: [pattern: string, cases: number][] = [
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

const options = { mode: 'echo', path: '/' } as const
const servers: [title: string, open: (t: ExecutionContext) => Promise<{ port: number }>][] = [
  ['a port of its own', (t) => startServer(t, options)],
  ['the port of a host', (t) => serveOn(t, createServer(), options)],
  ['streams of a host', (t) => serveOn(t, createServer(), options, { via: 'stream' })],
]

for (const [title, open] of servers) {
  test.serial(`passes every case strictly on ${title}`, async (t) => {
    t.timeout(600_000)
    const { port } = await open(t)
    const cases = groups.map(([pattern]) => pattern)
    const program = fileURLToPath(new URL('../scripts/conformance.mjs', import.meta.url))
    const child = spawn(process.execPath, [program, '--address', `127.0.0.1:${port}`, ...cases])
    t.teardown(() => child.kill())
    child.stderr.pipe(process.stderr)
    const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'close')])
    const verdicts = Array.from(output.matchAll(/^([\d.]+)\t(.+)\t(.+)$/gm), ([, name = '', ...rest]) => ({
      name,
      rest,
    }))
    for (const [pattern, count] of groups) {
      const ofGroup = verdicts.filter(({ name }) => name.startsWith(pattern.slice(0, -1)))
      t.is(ofGroup.length, count, `cases ${pattern}`)
    }
    t.is(code, 0, output)
  })
}
