/**
 * Numbers from numbers: differences of marks, medians and spreads.
 */

/** A process that used more of its core than this was itself the limit. */
const LIMIT_SHARE = 0.9

/** What happened between two marks of a session, in rates. */
export function difference(before, after) {
  const seconds = (after.load.now - before.load.now) / 1e9
  const counted = (name) => after.load.counters[name] - before.load.counters[name]
  const cpu = (side) => ({
    share: (after[side].totalUs - before[side].totalUs) / 1e6 / seconds,
    us: after[side].totalUs - before[side].totalUs,
    systemShare:
      (after[side].systemUs - before[side].systemUs) /
      Math.max(1, after[side].systemUs - before[side].systemUs + after[side].userUs - before[side].userUs),
  })
  const load = cpu('loadCpu')
  return {
    seconds,
    frames: counted('frames'),
    framesPerSecond: counted('frames') / seconds,
    framesPerRead: counted('frames') / Math.max(1, counted('reads')),
    handshakes: counted('handshakes'),
    handshakesPerSecond: counted('handshakes') / seconds,
    server: cpu('serverCpu'),
    load: { ...load, isLimit: load.share > LIMIT_SHARE },
  }
}

/** The figures of a difference that every rate carries: what it cost, and whether the load held it back. */
export function cost(window, messages) {
  return {
    cpuUsPerMessage: window.server.us / Math.max(1, messages),
    serverCpuShare: window.server.share,
    serverSystemShare: window.server.systemShare,
    loadCpuShare: window.load.share,
    loadIsLimit: window.load.isLimit,
  }
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** Median, least and most of one figure over the rounds; null when no round has it. */
export function summarize(rounds, figure) {
  const values = rounds.map((round) => round[figure]).filter((value) => typeof value === 'number')
  if (values.length === 0) return null
  return { median: median(values), least: Math.min(...values), most: Math.max(...values) }
}

/** A number as people read it: three digits that matter, thousands apart. */
export function figure(value) {
  if (!Number.isFinite(value)) return '–'
  if (Math.abs(value) >= 1e6) return `${(value / 1e6).toFixed(2)} M`
  if (Math.abs(value) >= 1000) return `${(value / 1000).toFixed(Math.abs(value) < 1e5 ? 1 : 0)} k`
  return value.toFixed(Math.abs(value) < 10 ? 2 : 1)
}
