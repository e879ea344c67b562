/**
 * The messages that all servers publish: JSON objects of a given size, as an application would make them.
 */

const paddings = new Map()

/** An object with a number in it, `bytes` long. */
export function numbered(number, bytes) {
  return JSON.stringify({ t: 'tick', p: { n: number, x: padding(bytes - 30 - String(number).length) } })
}

/** An object that tells when it was made: `@` and the monotonic clock's nanoseconds in nineteen digits. */
export function timed(now, bytes) {
  const at = `@${String(now).padStart(19, '0')}`
  return JSON.stringify({ t: 'tick', p: { at, x: padding(bytes - 53) } })
}

/** A list of quotes about `bytes` long: text as applications send it, which shrinks to a fourth. */
export function quotes(number, bytes) {
  const rows = Array.from({ length: Math.ceil((bytes - 60) / 84) }, (_, row) => {
    const noise = (Math.imul(number * 31 + row + 1, 0x9e3779b1) >>> 0) / 2 ** 32
    const bid = Number((50 + 400 * noise).toFixed(2))
    const volume = Math.floor(noise * 9e6)
    return { symbol: `SYM${row}`, bid, ask: bid + 0.25, volume, venue: 'XNAS', n: number }
  })
  return JSON.stringify({ t: 'quotes', p: { rows } })
}

function padding(length) {
  if (!paddings.has(length)) paddings.set(length, 'x'.repeat(Math.max(0, length)))
  return paddings.get(length)
}
