// The version, which stands in many files and is the same in all: `node scripts/version.mjs 0.2.0` sets it,
// `node scripts/version.mjs --check v0.2.0` fails unless every file has it.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { root, script } from './process.mjs'

/** Where it stands, as the first group of a pattern. */
const PLACES = [
  ['package.json', /^ {2}"version": "([^"]+)"/gm],
  ['package-lock.json', /"name": "wse-server",\n\s+"version": "([^"]+)"/g],
  ...readdirSync(join(root, 'npm')).map((name) => [`npm/${name}/package.json`, /^ {2}"version": "([^"]+)"/gm]),
  ['Cargo.toml', /^\[workspace\.package\]\nversion = "([^"]+)"/gm],
  ['Cargo.lock', /^name = "wse-\w+"\nversion = "([^"]+)"/gm],
  ['binding.cjs', /(?:bindingPackageVersion !== '|mismatch, expected )(\d+\.\d+\.\d+[\w.-]*)/g],
]

await script(async () => {
  const { positionals, values } = parseArgs({
    options: { check: { type: 'boolean', default: false } },
    allowPositionals: true,
  })
  const version = positionals[0]?.replace(/^v/, '') ?? ''
  if (!/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version)) throw new Error('Usage: version.mjs [--check] X.Y.Z')
  for (const [file, pattern] of PLACES) {
    const text = readFileSync(join(root, file), 'utf8')
    const found = Array.from(text.matchAll(pattern), ([, each]) => each)
    if (found.length === 0) throw new Error(`${file} has no version where one is expected`)
    if (!values.check)
      writeFileSync(
        join(root, file),
        text.replace(pattern, (match, old) => match.replace(old, version)),
      )
    else if (found.some((each) => each !== version)) throw new Error(`${file} has version ${found[0]}, not ${version}`)
  }
  console.log(
    values.check ? `Every file has version ${version}.` : `Set to ${version}; the changelog is yours to write.`,
  )
})
