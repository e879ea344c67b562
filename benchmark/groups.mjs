/**
 * What is measured, in the order of the page: groups of scenarios, each of which is a file in `scenarios/`.
 */
export const groups = [
  {
    name: 'port',
    title: 'On a port of its own',
    scenarios: [
      'fan-out-1000',
      'fan-out-1000x16',
      'fan-out-5000',
      'latency',
      'slow-readers',
      'inbound',
      'echo',
      'idle-memory',
      'handshakes',
      'handshakes-express',
      'event-loop-delay',
      'broadcast-call',
    ],
  },
  {
    name: 'paths',
    title: 'Behind an HTTP server: the descriptor path and the stream path',
    scenarios: ['paths-fan-out', 'paths-fan-out-x16', 'paths-inbound', 'paths-echo'],
  },
  {
    name: 'tls',
    title: 'TLS',
    scenarios: ['tls-fan-out', 'tls-fan-out-x16', 'tls-echo', 'tls-handshakes', 'tls-idle-memory'],
  },
  {
    name: 'speeches',
    title: 'Dialects, compression and MessagePack',
    scenarios: ['speeches-fan-out', 'speeches-cost'],
  },
  {
    name: 'recovery',
    title: 'Subscriptions and recovery',
    scenarios: [
      'recovery-fan-out',
      'recovery-fan-out-x16',
      'publish-call',
      'recovery-replay',
      'recovery-crowd',
      'subscription-memory',
      'log-memory',
    ],
  },
  { name: 'presence', title: 'Presence', scenarios: ['presence-joins'] },
  { name: 'tokens', title: 'Tokens', scenarios: ['token-handshakes'] },
  { name: 'hosts', title: 'Frameworks', scenarios: ['hosts-handshakes'] },
  { name: 'events', title: 'Domain events', scenarios: ['transform'] },
  { name: 'packages', title: 'Packages', scenarios: ['package-size', 'load-time'] },
]

/** The scenarios that `wanted` names, by their groups or one by one; all without it. */
export function scenariosOf(wanted) {
  const all = groups.flatMap(({ scenarios }) => scenarios)
  if (wanted === undefined) return all
  const names = wanted.split(',')
  const known = [...groups.map(({ name }) => name), ...all]
  const unknown = names.filter((name) => !known.includes(name))
  if (unknown.length > 0) throw new Error(`unknown: ${unknown.join(', ')}; there are ${known.join(', ')}`)
  return groups.flatMap(({ name, scenarios }) =>
    names.includes(name) ? scenarios : scenarios.filter((scenario) => names.includes(scenario)),
  )
}
