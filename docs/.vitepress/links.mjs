// Links of the pages to files of the repository that are no pages: on the site they lead to the repository.
import { readFileSync, statSync } from 'node:fs'
import { join, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
const docs = join(root, 'docs')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

/** Where the repository can be read. */
export const repository = manifest.repository.url.replace(/^git\+/, '').replace(/\.git$/, '')

/** A plug-in of markdown-it. Throws for a link to a file that is not there. */
export function repositoryLinks(markdown) {
  markdown.core.ruler.push('repository_links', ({ tokens, env }) => {
    for (const token of tokens.flatMap(({ children }) => children ?? [])) {
      const href = token.type === 'link_open' ? token.attrGet('href') : null
      if (href?.startsWith('.')) token.attrSet('href', target(href, env.path))
    }
  })
}

function target(href, page) {
  const [path, anchor] = href.split('#')
  const file = resolve(page, '..', path)
  if (file.startsWith(docs + sep)) return href
  const stats = statSync(file, { throwIfNoEntry: false })
  if (stats === undefined) throw new Error(`${page}: there is no ${file}`)
  const kind = stats.isDirectory() ? 'tree' : 'blob'
  const url = `${repository}/${kind}/main/${relative(root, file).split(sep).join('/')}`
  return anchor === undefined ? url : `${url}#${anchor}`
}
