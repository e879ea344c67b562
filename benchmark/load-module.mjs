/**
 * Prints how many milliseconds the first load of a package takes: `node load-module.mjs import|require <package>`.
 */
import { createRequire } from 'node:module'

const [, , how, name] = process.argv
const require = createRequire(import.meta.url)
const start = performance.now()
if (how === 'import') await import(name)
else require(name)
process.stdout.write(String(performance.now() - start))
