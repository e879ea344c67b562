/**
 * Runs the benchmarks: every scenario against every peer, round after round, and writes what it saw.
 *
 *     node benchmark/run.mjs [--rounds 5] [--seconds 3] [--warmup 1] [--only a,b] [--peers a,b] [--quick] [--gates]
 *
 * Peers take turns within a round, so that a disturbance meets all of them. A run of everything is
 * stored in `results/` and rewrites the tables of `docs/benchmarks.md`; a part is only printed.
 * `--quick` fits into a quarter of an hour: the two longest scenarios have two rounds, and after the first round only
 * the peers of the gates go on.
 * `--gates` runs nothing: it judges and reports the newest stored result again.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { judge } from './gates.mjs'
import { describeMachine, openFiles } from './machine.mjs'
import { figure } from './measure.mjs'
import { peers, rustProgram } from './peers.mjs'
import { writeReport } from './report.mjs'
import { Session } from './session.mjs'
import { issueTokens } from './tokens.mjs'

const SCENARIOS = [
  'fan-out-1000',
  'fan-out-1000x16',
  'fan-out-5000',
  'latency',
  'inbound',
  'echo',
  'idle-memory',
  'handshakes',
  'handshakes-express',
  'event-loop-delay',
  'broadcast-call',
]
/** Scenarios that take over twenty seconds for each peer and round. */
const LONG = new Set(['latency', 'idle-memory'])
/** Peers that the gates compare. */
const MAIN = new Set(['wse', 'ws', 'bun'])
const TOKENS = 10_000
const RESULTS = new URL('results/', import.meta.url)

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    warmup: { type: 'string', default: '1' },
    only: { type: 'string' },
    peers: { type: 'string' },
    quick: { type: 'boolean', default: false },
    gates: { type: 'boolean', default: false },
  },
})

const isWhole = !flags.only && !flags.peers
const result = flags.gates ? newestResult() : await measureAll()
if (flags.gates || isWhole) writeReport(result)
printGates(result)
const failures = result.scenarios
  .flatMap(({ peers }) => peers.flatMap(({ rounds }) => rounds))
  .filter(({ error }) => error)
process.exitCode = failures.length === 0 ? 0 : 1

async function measureAll() {
  buildLoad()
  const chosen = await Promise.all(choose(SCENARIOS, flags.only).map(load))
  const timing = { warmupMs: Number(flags.warmup) * 1000, measureMs: Number(flags.seconds) * 1000 }
  const rounds = Number(flags.rounds)
  const tokens = issueTokens(TOKENS)
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
          const outcome = await measureOnce(scenario, peer, timing, tokens)
          record(scenarios[index], peer, outcome)
          print(round, scenario, peer, outcome)
        }
      }
      // Kept after each round, so that a run which is cut short has shown something.
      if (isWhole) store(resultOf(round + 1))
    }
  } finally {
    tokens.remove()
  }
  return resultOf(rounds)
}

async function measureOnce(scenario, peer, timing, tokens) {
  if (openFiles() < (scenario.descriptors ?? 0)) {
    return { error: `needs ${scenario.descriptors} open files; raise the limit with ulimit -n` }
  }
  const { isPinned } = scenario
  const session = new Session(peer, { loadProgram: rustProgram('wse-load'), timing, isPinned })
  try {
    const outcome = await scenario.run(session, tokens)
    return { about: session.about, ...outcome }
  } catch (error) {
    return { error: error.message }
  } finally {
    await session.close()
  }
}

function record({ peers: entries }, { name, label, isCharted = true }, { about, ...outcome }) {
  let entry = entries.find((candidate) => candidate.name === name)
  if (!entry) {
    entry = { name, label, isCharted, ...about, rounds: [] }
    entries.push(entry)
  }
  entry.rounds.push(outcome)
}

/** The peers of a scenario, as far as they were asked for. */
function candidates(scenario, round) {
  const wanted = choose(
    peers.map(({ name }) => name),
    flags.peers,
  )
  const isLeftOut = (name) => flags.quick && ((round > 0 && !MAIN.has(name)) || (round > 1 && LONG.has(scenario.name)))
  return peers.filter(({ name }) => scenario.peers.includes(name) && wanted.includes(name) && !isLeftOut(name))
}

/** Another peer begins each round, so that none always follows the same neighbour. */
function turns(list, round) {
  const first = list.length === 0 ? 0 : round % list.length
  return [...list.slice(first), ...list.slice(0, first)]
}

function choose(all, wanted) {
  if (wanted === undefined) return all
  const names = wanted.split(',')
  const unknown = names.filter((name) => !all.includes(name))
  if (unknown.length > 0) throw new Error(`unknown: ${unknown.join(', ')}; there are ${all.join(', ')}`)
  return all.filter((name) => names.includes(name))
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

function store(measured) {
  const name = `${measured.started.slice(0, 16).replaceAll(':', '-')}.json`
  mkdirSync(RESULTS, { recursive: true })
  writeFileSync(new URL(name, RESULTS), `${JSON.stringify(measured, null, 1)}\n`)
  console.log(`written: benchmark/results/${name}`)
}

function newestResult() {
  const name = readdirSync(RESULTS)
    .filter((file) => file.endsWith('.json'))
    .sort()
    .at(-1)
  if (!name) throw new Error('benchmark/results/ holds no result yet')
  return JSON.parse(readFileSync(new URL(name, RESULTS), 'utf8'))
}
