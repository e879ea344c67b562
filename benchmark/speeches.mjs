/**
 * The ways in which clients of wse-server speak, as peers of one scenario: all of one way, or of all ways at once.
 */
import { peers } from './peers.mjs'

/** About the size of a page of quotes: over the threshold of compression. */
export const QUOTES_BYTES = 2_048

const ways = {
  json: ['JSON', ''],
  v1: ['JSON of version 1', 'protocol_version=1'],
  zlib: ['C: messages', 'compression=true'],
  payload: ['compressed payloads', 'compression=payload'],
  msgpack: ['MessagePack', 'format=msgpack'],
}
const own = peers.find(({ name }) => name === 'wse-envelope')

/** One peer for each way. */
export const single = Object.entries(ways).map(([name, [label, query]]) => speaking(name, label, [query]))

/** All ways at once, in equal parts. */
export const mixed = speaking(
  'mixed',
  'all five',
  Object.values(ways).map(([, query]) => query),
)

function speaking(name, label, queries) {
  return { ...own, name: `wse-${name}`, label, queries, isBackground: false }
}
