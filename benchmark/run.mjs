/**
 * Runs the benchmarks: every scenario against every peer, round after round, and writes what it saw.
 *
 *     node benchmark/run.mjs [--rounds 5] [--seconds 3] [--warmup 1] [--only a,b] [--peers a,b] [--quick]
 *                            [--store] [--gates]
 *
 * Peers take turns within a round, so that a disturbance meets all of them. A run of everything is stored in
 * `results/` and rewrites the tables of `docs/benchmarks.md`; a part is only printed, unless `--store` says
 * otherwise: then the page shows the newest run of each scenario.
 * `--quick` fits into a quarter of an hour: the two longest scenarios have two rounds, and after the first round only
 * the peers of the gates go on.
 * `--gates` runs nothing: it judges and reports the newest stored results again.
 */
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { issueCertificate } from './certificate.mjs'
import { judge } from './gates.mjs'
import { scenariosOf } from './groups.mjs'
import { describeMachine, openFiles } from './machine.mjs'
import { figure } from './measure.mjs'
import { peers, rustProgram } from './peers.mjs'
import { writeReport } from './report.mjs'
import { newest, store } from './results.mjs'
import { Session } from './session.mjs'
import { Tokens } from './tokens.mjs'

/** Scenarios that take over twenty seconds for each peer and round. */
const LONG = new Set(['latency', 'slow-readers', 'idle-memory', 'tls-idle-memory'])
const TOKENS = 10_000

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    warmup: { type: 'string', default: '1' },
    only: { type: 'string' },
    peers: { type: 'string' },
    quick: { type: 'boolean', default: false },
    store: { type: 'boolean', default: false },
    gates: { type: 'boolean', default: false },
  },
})

const isStored = flags.store || (!flags.only && !flags.peers)
const scenarios = flags.gates ? [...newest().values()].map(({ scenario }) => scenario) : await measureAll()
if (flags.gates || isStored) writeReport(newest())
printGates(scenarios)
const failures = scenarios.flatMap(({ peers }) => peers.flatMap(({ rounds }) => rounds)).filter(({ error }) => error)
process.exitCode = failures.length === 0 ? 0 : 1

async function measureAll() {
  buildLoad()
  const chosen = await Promise.all(scenariosOf(flags.only).map(load))
  checkPeers(chosen)
  const timing = { warmupMs: Number(flags.warmup) * 1000, measureMs: Number(flags.seconds) * 1000 }
  const rounds = Number(flags.rounds)
  const tokens = new Tokens(TOKENS)
  const certificate = await issueCertificate()
  const started = new Date().toISOString()
  const scenarios = chosen.map(({ name, title, unit, isHigherBetter }) => ({
    name,
    title,
    unit,
    isHigherBetter,
    peers: [],
  }))
  const resultOf = (done) => ({
    started,
    command: command(),
    machine: describeMachine(),
    rounds: done,
    timing,
    scenarios,
  })
  try {
    for (let round = 0; round < rounds; round++) {
      for (const [index, scenario] of chosen.entries()) {
        for (const peer of turns(candidates(scenario, round), round)) {
          const outcome = await measureOnce(scenario, peer, { timing, tokens, certificate })
          record(scenarios[index], peer, outcome)
          print(round, scenario, peer, outcome)
        }
      }
      // Kept after each round, so that a run which is cut short has shown something.
      if (isStored) store(resultOf(round + 1))
    }
  } finally {
    tokens.remove()
  }
  return scenarios
}

async function measureOnce(scenario, peer, { timing, tokens, certificate }) {
  if (openFiles() < (scenario.descriptors ?? 0)) {
    return { error: `needs ${scenario.descriptors} open files; raise the limit with ulimit -n` }
  }
  const { isPinned } = scenario
  const session = new Session(peer, { loadProgram: rustProgram('wse-load'), timing, certificate, isPinned })
  try {
    const outcome = await scenario.run(session, tokens)
    return { about: session.about, ...outcome }
  } catch (error) {
    return { error: error.message }
  } finally {
    await session.close()
  }
}

function record({ peers: entries }, { name, label, versions, isCharted = true }, { about, ...outcome }) {
  let entry = entries.find((candidate) => candidate.name === name)
  if (!entry) {
    entry = { name, label, isCharted, versions, ...about, rounds: [] }
    entries.push(entry)
  }
  entry.rounds.push(outcome)
}

/** The peers of a scenario, as far as they were asked for: those that all share by their names, or its own. */
function candidates(scenario, round) {
  if (flags.quick && round > 1 && LONG.has(scenario.name)) return []
  const wanted = flags.peers?.split(',')
  const isLeftOut = ({ name, isBackground }) =>
    (wanted && !wanted.includes(name)) || (flags.quick && round > 0 && isBackground)
  return peersOf(scenario).filter((peer) => !isLeftOut(peer))
}

function peersOf(scenario) {
  return scenario.peers.map((peer) => peers.find(({ name }) => name === peer) ?? peer)
}

/** A name that nobody has would measure nothing, and say so to nobody. */
function checkPeers(scenarios) {
  const known = new Set(scenarios.flatMap(peersOf).map(({ name }) => name))
  const unknown = (flags.peers?.split(',') ?? []).filter((name) => !known.has(name))
  if (unknown.length > 0) throw new Error(`unknown: ${unknown.join(', ')}; there are ${[...known].join(', ')}`)
}

/** Another peer begins each round, so that none always follows the same neighbour. */
function turns(list, round) {
  const first = list.length === 0 ? 0 : round % list.length
  return [...list.slice(first), ...list.slice(0, first)]
}

async function load(name) {
  return (await import(`./scenarios/${name}.mjs`)).default
}

/** Builds the load generator and the Rust peer, when they are not up to date. */
function buildLoad() {
  const manifest = fileURLToPath(new URL('load/Cargo.toml', import.meta.url))
  execFileSync('cargo', ['build', '--release', '--locked', '--manifest-path', manifest], { stdio: 'inherit' })
}

function command() {
  return ['node benchmark/run.mjs', ...process.argv.slice(2)].join(' ')
}

function print(round, { name, unit }, peer, { value, error, lost, ...outcome }) {
  const notes = [
    outcome.cpuUsPerMessage && `${outcome.cpuUsPerMessage.toFixed(2)} µs CPU`,
    outcome.serverCpuShare && `server ${percent(outcome.serverCpuShare)}, load ${percent(outcome.loadCpuShare)}`,
    outcome.framesPerRead && `${outcome.framesPerRead.toFixed(1)} frames/read`,
    outcome.leftMb !== undefined && `left ${figure(outcome.leftMb)} MB, then ${figure(outcome.addedBySecondMb)} MB`,
    lost > 0 && `${lost} lost`,
  ]
  const text = error ?? `${figure(value)} ${unit} ${notes.filter(Boolean).join(', ')}`
  console.log(`${round + 1}  ${name.padEnd(20)} ${peer.name.padEnd(14)} ${text}`)
}

function percent(share) {
  return `${(share * 100).toFixed(0)} %`
}

function printGates(measured) {
  for (const { scenario, text, value, limit, unit, verdict } of judge(measured)) {
    console.log(`${scenario.padEnd(20)} ${text.padEnd(34)} ${figure(value)} of ${figure(limit)} ${unit}: ${verdict}`)
  }
}
