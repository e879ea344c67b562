/**
 * What each benchmark has to reach, and whether a result does.
 */
import { summarize } from './measure.mjs'

/** A difference that two runs of the same thing show as well. */
const NOISE = 0.1

const times = (factor, peer) => ({ text: `${factor} × ${peer}`, limit: (of) => factor * of(peer) })
const peer = (name) => ({ text: name, limit: (of) => of(name) })
const fixed = (value, unit) => ({ text: `${value} ${unit}`, limit: () => value })
const both = (a, b) => ({ text: `${a.text} and ${b.text}`, limit: (of) => Math.max(a.limit(of), b.limit(of)) })

/**
 * Gate and goal of each scenario that has them, for wse-server or the row that `peer` names; `also` are bounds on
 * other figures or rows.
 */
export const gates = {
  'fan-out-1000': { gate: times(1.4, 'ws'), goal: both(peer('bun'), fixed(160_000, 'deliveries/s')) },
  'fan-out-1000x16': { gate: times(15, 'ws'), goal: peer('bun') },
  'fan-out-5000': { gate: times(1.4, 'ws'), goal: peer('bun') },
  latency: { gate: times(0.7, 'ws'), goal: peer('bun') },
  inbound: { gate: times(3, 'ws'), goal: peer('bun') },
  echo: { gate: times(1.5, 'ws'), goal: peer('bun') },
  'idle-memory': {
    gate: fixed(2, 'KiB'),
    goal: fixed(1, 'KiB'),
    also: [
      { figure: 'leftMb', text: 'left 5 s after the close', limit: 3, unit: 'MB' },
      { figure: 'addedBySecondMb', text: 'added by a second cycle', limit: 1, unit: 'MB' },
    ],
  },
  handshakes: { gate: times(3, 'ws'), goal: both(peer('bun'), fixed(25_000, 'handshakes/s')) },
  'handshakes-express': { gate: times(1, 'ws'), goal: times(1.3, 'ws') },
  'event-loop-delay': { gate: times(0.1, 'ws'), goal: fixed(5, 'ms') },
  'broadcast-call': { gate: fixed(1.5, 'µs'), goal: fixed(0.5, 'µs') },
  'recovery-fan-out': { peer: 'wse-recovery', gate: times(0.9, 'wse-envelope') },
  'recovery-fan-out-x16': { peer: 'wse-recovery', gate: times(0.9, 'wse-envelope') },
  'package-size': {
    peer: 'wse-root',
    gate: fixed(100_000, 'bytes'),
    also: [{ row: 'wse-binary', text: 'the binary', limit: 3_000_000, unit: 'bytes' }],
  },
}

/** One line for each bound: what was measured, what was asked for, and how far it is. */
export function judge(scenarios) {
  const lines = []
  for (const scenario of scenarios.filter(({ name }) => name in gates)) {
    const { peer = 'wse', gate, goal, also = [] } = gates[scenario.name]
    const rounds = (name) => scenario.peers.find((candidate) => candidate.name === name)?.rounds ?? []
    const of = (name, figure = 'value') => summarize(rounds(name), figure)?.median ?? Number.NaN
    const bounds = [
      { text: `gate ${gate.text}`, value: of(peer), limit: gate.limit(of), unit: scenario.unit },
      ...(goal ? [{ text: `goal ${goal.text}`, value: of(peer), limit: goal.limit(of), unit: scenario.unit }] : []),
      ...also.map(({ row = peer, figure, text, limit, unit }) => ({
        text,
        value: of(row, figure),
        limit,
        unit,
        isUpper: true,
      })),
    ]
    for (const { text, value, limit, unit, isUpper = !scenario.isHigherBetter } of bounds) {
      lines.push({ scenario: scenario.name, text, value, limit, unit, verdict: verdict(value, limit, isUpper) })
    }
  }
  return lines
}

function verdict(value, limit, isUpper) {
  if (Number.isNaN(value) || Number.isNaN(limit)) return 'not measured'
  if (isUpper ? value <= limit : value >= limit) return 'reached'
  const ratio = isUpper ? value / limit : limit / value
  const distance = `${((ratio - 1) * 100).toFixed(0)} % ${isUpper ? 'over' : 'short'}`
  return ratio <= 1 + NOISE ? `within noise, ${distance}` : `missed, ${distance}`
}
