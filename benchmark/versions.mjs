/**
 * Which versions of the packages are compared.
 */
import { readFileSync } from 'node:fs'

/** The versions of Node.js and of packages, by their names. */
export function versionsOf(...names) {
  return { node: process.versions.node, ...Object.fromEntries(names.map((name) => [name, versionOf(name)])) }
}

function versionOf(name) {
  const folder = name === 'wse-server' ? '..' : `../node_modules/${name}`
  return JSON.parse(readFileSync(new URL(`${folder}/package.json`, import.meta.url), 'utf8')).version
}
