/**
 * Writes results where people read them: the tables in `docs/benchmarks.md` and a chart for each scenario.
 *
 * Owns only what stands between the two marks of that page; the words around them are written by hand.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { barChart } from './chart.mjs'
import { groups } from './groups.mjs'
import { figure, summarize } from './measure.mjs'

const PAGE = new URL('../docs/benchmarks.md', import.meta.url)
const ASSETS = new URL('../docs/assets/', import.meta.url)
const BEGIN = '<!-- results: written by benchmark/run.mjs -->'
const END = '<!-- end of results -->'
/** What stands in a column that a scenario has no figures for; without any other cell the column is left out. */
const EMPTY = new Set(['', figure(Number.NaN)])

/** Rewrites the tables of the page and the charts; `found` has the newest run of each scenario. */
export function writeReport(found) {
  const [before, rest] = readFileSync(PAGE, 'utf8').split(BEGIN)
  const after = rest?.split(END)[1]
  if (after === undefined) throw new Error(`docs/benchmarks.md has lost its marks: ${BEGIN} … ${END}`)
  const parts = groups.flatMap((group) => chapter(group, found))
  writeFileSync(PAGE, `${before}${BEGIN}\n\n${parts.join('\n\n')}\n\n${END}${after}`)
  mkdirSync(ASSETS, { recursive: true })
  for (const { run, scenario } of found.values()) {
    const charted = scenario.peers.filter(({ isCharted }) => isCharted)
    const bars = charted.map((peer) => ({
      label: peer.label,
      isOurs: peer.name.startsWith('wse'),
      ...row(peer, run.rounds),
    }))
    const measured = bars.filter(({ value }) => value)
    writeFileSync(new URL(`bench-${scenario.name}.svg`, ASSETS), barChart(scenario, measured))
  }
}

/** The tables of a group, with a line before those of each run that says where they come from. */
function chapter({ title, scenarios }, found) {
  const entries = scenarios.flatMap((name) => found.get(name) ?? [])
  if (entries.length === 0) return []
  const runs = [...new Set(entries.map(({ run }) => run))]
  const tables = runs.flatMap((run) => {
    const own = entries.filter((entry) => entry.run === run).map(({ scenario }) => scenario)
    return [machineLine(run, own), ...own.map((scenario) => section(scenario, run.rounds))]
  })
  return [`## ${title}`, ...tables]
}

function machineLine({ machine, rounds, timing, started, command }, scenarios) {
  const versions = Object.assign({}, ...scenarios.flatMap(({ peers }) => peers.map((peer) => peer.versions)))
  const list = Object.entries(versions).map(([name, version]) => `${name} ${version}`)
  return [
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.system}. ${list.join(', ')}.`,
    `${rounds} rounds of ${timing.measureMs / 1000} s after ${timing.warmupMs / 1000} s of warm-up,`,
    `${started.slice(0, 10)}: \`${command}\`. Medians, with the least and the most of all rounds where they differ.`,
  ].join(' ')
}

function section(scenario, rounds) {
  const rows = scenario.peers.map((peer) => ({ label: peer.label, ...row(peer, rounds) }))
  const columns = [
    ['', ({ label }) => label],
    [scenario.unit, ({ value }) => (value ? spread(value) : 'not measured')],
    ['server CPU, µs each', ({ cpu }) => figure(cpu?.median)],
    ['frames a read', ({ framesPerRead }) => figure(framesPerRead?.median)],
    ['', ({ notes }) => notes],
  ].filter(([, cell]) => rows.some((entry) => !EMPTY.has(cell(entry))))
  const line = (cells) => `| ${cells.join(' | ')} |`
  return [
    `### ${scenario.title}`,
    `![${scenario.title}: ${scenario.isHigherBetter ? 'more' : 'less'} is better](assets/bench-${scenario.name}.svg)`,
    [
      line(columns.map(([head]) => head)),
      line(columns.map(() => '---')),
      ...rows.map((entry) => line(columns.map(([, cell]) => cell(entry)))),
    ].join('\n'),
  ].join('\n\n')
}

function spread({ median, least, most }) {
  return least === most ? figure(median) : `${figure(median)} (${figure(least)}–${figure(most)})`
}

/** What one peer's rounds come to; a quick run has `wanted` of them for some peers only. */
function row({ rounds }, wanted) {
  const of = (name) => summarize(rounds, name)
  const lost = of('lost')?.most ?? 0
  const left = of('leftMb')
  const p50 = of('p50')
  const notes = [
    rounds.length < wanted && (rounds.length === 1 ? '1 round' : `${rounds.length} rounds`),
    rounds.some(({ loadIsLimit }) => loadIsLimit) && 'the load was the limit',
    lost > 0 && `lost up to ${figure(lost)}`,
    left &&
      `${figure(left.median)} MB left after the close, of which code ${figure(of('codeLeftMb').median)} MB; ${figure(of('addedBySecondMb').median)} MB more after a second cycle`,
    p50 && `median ${figure(p50.median)} ms`,
    of('countedBytes') && `${figure(of('countedBytes').median)} by the server's own count`,
    of('idleP99') && `idle ${figure(of('idleP99').median)} ms`,
  ]
  return {
    value: of('value'),
    cpu: of('cpuUsPerMessage'),
    framesPerRead: of('framesPerRead'),
    notes: notes.filter(Boolean).join('; '),
  }
}
