/**
 * The tokens of the benchmark's clients: HS256, one user each.
 */
import { createHmac, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const LIFE_SECONDS = 6 * 3600

/** Writes `count` tokens to a file that the load generator reads; `remove()` deletes it. */
export function issueTokens(count) {
  const secret = randomBytes(32).toString('base64url')
  const exp = Math.floor(Date.now() / 1000) + LIFE_SECONDS
  const folder = mkdtempSync(join(tmpdir(), 'wse-benchmark-'))
  const file = join(folder, 'tokens')
  writeFileSync(file, Array.from({ length: count }, (_, user) => sign({ sub: `user-${user}`, exp }, secret)).join('\n'))
  return { file, secret, remove: () => rmSync(folder, { recursive: true }) }
}

function sign(claims, secret) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const head = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`
  return `${head}.${createHmac('sha256', secret).update(head).digest('base64url')}`
}
