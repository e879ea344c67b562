// Links of a built site that lead nowhere: pages, files and places within pages. Looks at links within the site only,
// so that it needs no network.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'

/** How many links the pages of a folder have, and those that lead to nothing, as `page: link`. */
export function deadLinks(site) {
  const pages = readdirSync(site, { recursive: true }).filter((file) => file.endsWith('.html'))
  const texts = new Map(pages.map((page) => [join(site, page), readFileSync(join(site, page), 'utf8')]))
  const places = new Map([...texts].map(([page, text]) => [page, valuesOf(text, 'id')]))
  let count = 0
  const dead = []
  for (const [page, text] of texts) {
    for (const link of new Set([...valuesOf(text, 'href'), ...valuesOf(text, 'src')])) {
      const { protocol, pathname, hash } = new URL(link, `site:/${relative(site, page)}`)
      if (protocol !== 'site:') continue
      count += 1
      const file = fileOf(join(site, decodeURIComponent(pathname)))
      const isThere =
        existsSync(file) && (hash === '' || (places.get(file)?.has(decodeURIComponent(hash.slice(1))) ?? false))
      if (!isThere) dead.push(`${relative(site, page)}: ${link}`)
    }
  }
  return { count, dead }
}

/** A folder's page is its index. */
function fileOf(path) {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ? join(path, 'index.html') : path
}

function valuesOf(html, attribute) {
  const values = html.matchAll(new RegExp(`\\s${attribute}="([^"]*)"`, 'g'))
  return new Set(Array.from(values, ([, value]) => value.replaceAll('&amp;', '&')))
}
