/**
 * The stored results: raw numbers, one file for each run.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'

const FOLDER = new URL('results/', import.meta.url)

/** Keeps a result under the time of its start, in place of an earlier state of the same run. */
export function store(result) {
  const name = `${result.started.slice(0, 19).replaceAll(':', '-')}.json`
  mkdirSync(FOLDER, { recursive: true })
  writeFileSync(new URL(name, FOLDER), `${JSON.stringify(result, null, 1)}\n`)
  console.log(`written: benchmark/results/${name}`)
}

/** The newest run of each scenario that was ever stored, by the scenario's name: `{ run, scenario }`. */
export function newest() {
  const files = readdirSync(FOLDER).filter((file) => file.endsWith('.json'))
  const found = new Map()
  for (const file of files.sort()) {
    const run = JSON.parse(readFileSync(new URL(file, FOLDER), 'utf8'))
    for (const scenario of run.scenarios) found.set(scenario.name, { run, scenario })
  }
  return found
}
