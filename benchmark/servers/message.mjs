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

function padding(length) {
  if (!paddings.has(length)) paddings.set(length, 'x'.repeat(Math.max(0, length)))
  return paddings.get(length)
}
