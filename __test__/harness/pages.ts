// The pages of the documentation, and the blocks of code on them.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Fenced code as it stands on a page: what follows the three backticks is `language` and, behind a space, `note`. */
export interface Block {
  readonly page: string
  /** Line of the fence, from 1. */
  readonly line: number
  readonly language: string
  readonly note: string
  readonly source: string
}

/** Everything that a page has for a test: its blocks, and the declarations that its fragments assume. */
export interface Page {
  readonly path: string
  readonly blocks: readonly Block[]
  /** What stands in the page's comment `<!-- context … -->`, which readers do not see. */
  readonly context: string
}

/** The README, all hand-written pages of docs/, and the sources, whose comments become pages: by their paths. */
export function allPages(): Page[] {
  const isWritten = (file: string) => file.endsWith('.md') && !/^(\.vitepress|reference[\\/]api)[\\/]/.test(file)
  const docs = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' }).filter(isWritten).sort()
  return [
    readPage('README.md'),
    ...docs.map((file) => readPage(`docs/${file.replaceAll('\\', '/')}`)),
    ...readdirSync(join(root, 'lib')).map((file) => readPage(`lib/${file}`)),
  ]
}

function readPage(path: string): Page {
  const content = readFileSync(join(root, path), 'utf8')
  const text = path.endsWith('.ts') ? content.replaceAll(/^ *\* ?/gm, '') : content
  const context = Array.from(text.matchAll(/<!-- context\n(.*?)-->/gs), ([, source = '']) => source).join('\n')
  return { path, blocks: blocksOf(path, text), context }
}

/** Fences may be indented, as in lists, and longer than three, around others. */
function blocksOf(page: string, text: string): Block[] {
  const blocks: Block[] = []
  let open: { line: number; indent: string; fence: string; language: string; note: string; lines: string[] } | undefined
  for (const [index, line] of text.split('\n').entries()) {
    const [, indent = '', fence = '', info = ''] = /^(\s*)(`{3,}|~{3,})([^`]*)$/.exec(line) ?? []
    if (open === undefined) {
      const [language = '', note = ''] = info.trim().split(/\s+(.*)/s)
      if (fence !== '') open = { line: index + 1, indent, fence, language, note, lines: [] }
    } else if (fence.startsWith(open.fence) && info.trim() === '') {
      const { line: start, language, note, lines } = open
      blocks.push({ page, line: start, language, note, source: `${lines.join('\n')}\n` })
      open = undefined
    } else open.lines.push(line.startsWith(open.indent) ? line.slice(open.indent.length) : line)
  }
  if (open !== undefined) throw new Error(`${page}:${open.line}: a block without an end`)
  return blocks
}
