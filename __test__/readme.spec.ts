import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { runFile } from './harness/child.js'
import { connect } from './harness/connect.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const blocks = join(root, '.cache', 'blocks')

/** The TypeScript blocks of a page, by the files that hold them. */
const programs = new Map<string, string[]>()

function extract(page: string): string[] {
  const text = readFileSync(join(root, page), 'utf8')
  return Array.from(text.matchAll(/^```ts\n(.*?)^```$/gms), ([, source = ''], index) => {
    const path = join(blocks, `${page.replaceAll(/[/.]/g, '-')}-${index}.ts`)
    writeFileSync(path, source)
    return path
  })
}

const pages = [
  'README.md',
  ...['docs/reference', 'docs/guides'].flatMap((folder) =>
    readdirSync(join(root, folder)).map((file) => `${folder}/${file}`),
  ),
]

test.before(() => {
  rmSync(blocks, { recursive: true, force: true })
  mkdirSync(blocks, { recursive: true })
  for (const page of pages) programs.set(page, extract(page))
})

test('has no block of code on its pages that the compiler refuses', (t) => {
  t.true([...programs.values()].flat().length > 0)
  const config = {
    extends: '../../tsconfig.json',
    compilerOptions: { rootDir: '../..' },
    include: ['*.ts'],
    exclude: [],
  }
  writeFileSync(join(blocks, 'tsconfig.json'), JSON.stringify(config))
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', blocks], { encoding: 'utf8' })
  t.is(status, 0, stdout)
})

for (const [title, index, isAsked] of [
  ['the first example', 0, false],
  ['the standalone example', 1, true],
] as const) {
  test(`runs ${title} of the README as it stands`, async (t) => {
    const program = programs.get('README.md')?.[index] ?? ''
    const child = runFile(t, program, { PORT: '0' })
    const port = Number(/:(\d+)/.exec(await child.nextLine((line) => line.includes('://')))?.[1])
    const token = /eyJ\S+/.exec(await child.nextLine((line) => line.includes('eyJ')))?.[0] ?? ''
    const [one, other] = [await connect(t, { port }, { token }), await connect(t, { port }, { token })]
    if (isAsked) t.like(await other.subscribe(['chat']), { success_topics: ['chat'] })
    one.send({ t: 'chat', p: { text: 'hello' } })
    t.like((await other.next('chat')).p, { text: 'hello' })
  })
}
