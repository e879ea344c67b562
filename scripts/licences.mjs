// Holds the dependencies of both languages against the policy of deny.toml: licences, bans, sources.
// Reads the locks and Cargo's metadata only; the network is not asked.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'smol-toml'
import { BUNDLED } from './packages.mjs'
import { CommandFailed, observe, root, script } from './process.mjs'

await script(async () => {
  const policy = parse(readFileSync(join(root, 'deny.toml'), 'utf8'))
  const allowed = new Set(policy.licenses.allow)
  const banned = new Set(policy.bans.deny.map((entry) => entry.crate))
  const dependencies = [...(await crates()), ...packages()]

  const faults = dependencies.flatMap(({ name, licence, source, isShipped }) => [
    ...(!isShipped || isAllowed(licence, allowed) ? [] : [`${name}: licence ${licence ?? 'missing'}`]),
    ...(banned.has(name) ? [`${name}: banned`] : []),
    ...(source === 'registry' ? [] : [`${name}: comes from ${source}`]),
  ])
  for (const fault of faults) console.error(fault)
  if (faults.length > 0) process.exitCode = 1
  else console.log(`${dependencies.length} dependencies, all within deny.toml.`)
})

async function crates() {
  const args = ['metadata', '--format-version', '1', '--locked']
  const { code, lines } = await observe('cargo', args, { quiet: true })
  if (code !== 0) throw new CommandFailed('cargo metadata', code)
  return JSON.parse(lines.join('\n'))
    .packages.filter(({ source }) => source !== null)
    .map(({ name, license, source }) => ({
      name,
      licence: license,
      isShipped: true,
      source: source.startsWith('registry+') ? 'registry' : source,
    }))
}

function packages() {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  return Object.entries(lock.packages)
    .filter(([path]) => path !== '')
    .map(([path, { license, integrity, resolved, dev, devOptional }]) => ({
      name: path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length),
      licence: license,
      // What only the examples and the tests use reaches nobody: its terms are between it and us.
      isShipped: (!dev && !devOptional) || BUNDLED.some((name) => path.endsWith(`node_modules/${name}`)),
      // A package from the registry carries a hash; one from git or a folder does not.
      source: integrity ? 'registry' : (resolved ?? 'an unknown place'),
    }))
}

/**
 * Whether an SPDX expression can be met with the allowed licences: a licence of each `AND`, one of each `OR`.
 * The slash of old crates means `OR`.
 */
function isAllowed(expression, allowed) {
  if (!expression) return false
  const tokens = expression
    .replaceAll('/', ' OR ')
    .replace(/ WITH /g, '\u00a0')
    .match(/[()]|[^\s()]+(?:\u00a0[^\s()]+)?/g)
  const either = () => {
    let met = both()
    while (tokens[0] === 'OR') {
      tokens.shift()
      met = both() || met
    }
    return met
  }
  const both = () => {
    let met = one()
    while (tokens[0] === 'AND') {
      tokens.shift()
      met = one() && met
    }
    return met
  }
  const one = () => {
    const token = tokens.shift()
    if (token !== '(') return allowed.has(token.replace('\u00a0', ' WITH '))
    const met = either()
    tokens.shift()
    return met
  }
  return either()
}
