// Entries of the site's menu, made from the pages themselves: a new page is in the menu as soon as it is in its folder.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const docs = fileURLToPath(new URL('..', import.meta.url))
/** Pages that a menu has shown already; no page is in two. */
const shown = new Set()

/** The pages of a folder: those named in `order` first, in that order, then, unless `only`, the others by name. */
export function pages(folder, order = [], { only = false } = {}) {
  const path = join(docs, folder)
  const present = existsSync(path)
    ? readdirSync(path).filter((file) => file.endsWith('.md') && file !== 'index.md')
    : []
  const names = present.map((file) => file.slice(0, -'.md'.length)).sort()
  const wanted = [...order.filter((name) => names.includes(name)), ...(only ? [] : names)]
  return [...new Set(wanted)]
    .map((name) => join(folder, name))
    .filter((page) => !shown.has(page) && shown.add(page))
    .map((page) => ({ text: titleOf(page), link: `/${page}` }))
}

/** The page's first heading, up to the colon behind which it explains itself. */
function titleOf(page) {
  const [, title] = /^# ([^\n]*)$/m.exec(readFileSync(join(docs, `${page}.md`), 'utf8')) ?? []
  if (title === undefined) throw new Error(`docs/${page}.md has no heading`)
  return title.split(': ', 1)[0].replaceAll('`', '')
}
