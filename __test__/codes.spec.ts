import { readFileSync } from 'node:fs'
import test from 'ava'

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8')
const catalogue = JSON.parse(read('spec/codes.json')) as {
  wire: { code: string; close: number | null; retryable: boolean; sent_by: string }[]
  api: string[]
}
const rows = read('docs/reference/errors.md')
  .split('\n')
  .map((line) => /^\| `([A-Z_0-9]+)` \|(.*)\|$/.exec(line))
  .filter((row) => row !== null)
  .map(([, code = '', cells = '']) => ({ code, cells: cells.split('|').map((cell) => cell.trim()) }))

test('documents every code of the catalogue and no other', (t) => {
  const codes = [...catalogue.wire.map(({ code }) => code), ...catalogue.api]
  t.deepEqual(rows.map(({ code }) => code).sort(), codes.sort())
})

const senders: Record<string, string> = { server: 'server', application: 'application', later: 'a later version' }

test('documents the close code of every wire code, whether trying again helps, and who sends it', (t) => {
  for (const { code, close, retryable, sent_by } of catalogue.wire) {
    const cells = rows.find((row) => row.code === code)?.cells
    t.is(cells?.[0], close === null ? '–' : String(close), code)
    t.is(cells?.[1], retryable ? 'yes' : 'no', code)
    t.is(cells?.[2], senders[sent_by], code)
  }
})

test('has every API code of the catalogue in the types, and no other', (t) => {
  const inTypes = new Set(read('lib/errors.ts').match(/\bWSE_[A-Z]+_[A-Z_]+\b/g))
  inTypes.add('WSE_INTERNAL')
  t.deepEqual([...inTypes].sort(), [...catalogue.api].sort())
})
