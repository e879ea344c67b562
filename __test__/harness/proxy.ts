// Proxies of tests: nginx with the configuration that the guide shows.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'
import { Child } from './child.js'

const PATH = process.env.NGINX_PATH ?? '/usr/sbin/nginx'
const snippet = fileURLToPath(new URL('../../examples/proxy/nginx.conf', import.meta.url))
/** Ports are taken by others now and then between being found and being bound. */
const TRIES = 5

export function hasNginx(): boolean {
  return existsSync(PATH)
}

/** nginx before these services, in the order of the snippet; ended when the test is over. */
export async function startNginx(
  t: ExecutionContext,
  services: { port: number }[],
  adapt: (snippet: string) => string = (text) => text,
): Promise<{ port: number }> {
  const folder = mkdtempSync(join(tmpdir(), 'wse-nginx-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const servers = services.map(({ port }) => `server 127.0.0.1:${port};`).join(' ')
  const text = adapt(readFileSync(snippet, 'utf8')).replace(
    /server 127\.0\.0\.1:8000;\s+server 127\.0\.0\.1:8001;/,
    servers,
  )
  for (let attempt = 1; ; attempt++) {
    const port = await freePort()
    const file = join(folder, 'nginx.conf')
    writeFileSync(file, around(text.replace('listen 80', `listen 127.0.0.1:${port}`), folder))
    // It logs to the standard error; its notice about events comes when it listens.
    const nginx = new Child(['-c', 'exec "$0" -e stderr -c "$1" 2>&1', PATH, file], {}, 'sh')
    t.teardown(() => nginx.kill())
    const line = await nginx.nextLine((text) => /\[emerg\]|using the ".*" event method/.test(text))
    if (!line.includes('[emerg]')) return { port }
    if (attempt === TRIES || !line.includes('bind()')) throw new Error(line)
  }
}

/**
 * A proxy that lets the upgrade through and then keeps what the server sends, as some do with answers: until `fullBytes`
 * have gathered, or for `holdMs`. Ended when the test is over.
 */
export async function startHoarder(
  t: ExecutionContext,
  service: { port: number },
  { fullBytes = Number.POSITIVE_INFINITY, holdMs }: { fullBytes?: number; holdMs?: number },
): Promise<{ port: number }> {
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect(service.port, '127.0.0.1')
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => {})
    }
    client.pipe(upstream)
    let head = ''
    let kept = Buffer.alloc(0)
    let isHolding = false
    const pass = () => {
      client.write(kept)
      kept = Buffer.alloc(0)
      isHolding = false
    }
    upstream.on('data', (chunk: Buffer) => {
      const isHead = !head.includes('\r\n\r\n')
      if (isHead) head += chunk.toString('latin1')
      const end = isHead ? Math.max(0, chunk.indexOf('\r\n\r\n') + 4) : 0
      client.write(chunk.subarray(0, end))
      // Other answers than an upgrade pass whole.
      kept = Buffer.concat([kept, chunk.subarray(end)])
      if (kept.length >= fullBytes || !head.startsWith('HTTP/1.1 101')) pass()
      else if (holdMs !== undefined && !isHolding) {
        isHolding = true
        setTimeout(pass, holdMs)
      }
    })
    upstream.on('close', () => client.destroy())
    client.on('close', () => upstream.destroy())
  })
  t.teardown(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { port: (server.address() as { port: number }).port }
}

/** What stands around the snippet: one process in the foreground that keeps to a folder of its own. */
function around(snippet: string, folder: string): string {
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${folder}/${kind};`,
  )
  return `
    daemon off;
    master_process off;
    pid ${folder}/pid;
    error_log stderr notice;
    events {}
    http {
      access_log off;
      ${paths.join('\n      ')}
      ${snippet}
    }`
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}
