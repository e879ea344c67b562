import { readFileSync } from 'node:fs'
import { deflateRawSync, inflateRawSync, inflateSync, constants as zlib } from 'node:zlib'
import { decode, encode } from '@msgpack/msgpack'
import test from 'ava'

// What clients in JavaScript make of the vectors: zlib as Node.js has it, and the usual MessagePack package.

interface ZlibCase {
  name: string
  stream: string
  text?: string
  fault?: string
  max_bytes?: number
  max_ratio?: number
}

interface MessagesCase {
  name: string
  keeps_window: boolean
  window_bits?: number
  payloads: string[]
  texts?: (string | null)[]
}

interface WrittenCase {
  name: string
  format: 'zlib' | 'raw'
  keeps_window?: boolean
  window_bits?: number
  texts: string[]
  streams: string[]
}

interface EncodeCase {
  name: string
  json: string
  msgpack: string
}

interface DecodeCase {
  name: string
  json?: string
  msgpack: string
  writer?: string
}

const read = (name: string) =>
  JSON.parse(readFileSync(new URL(`../spec/vectors/${name}.json`, import.meta.url), 'utf8'))
const compress = read('compress') as { zlib: ZlibCase[]; messages: MessagesCase[]; written: WrittenCase[] }
const msgpack = read('msgpack') as { encode: EncodeCase[]; decode: DecodeCase[] }

const bytes = (hex: string) => Buffer.from(hex, 'hex')
/** What permessage-deflate leaves out behind each message (RFC 7692 section 7.2.1). */
const TAIL = bytes('0000ffff')

/** The text of raw streams that may refer to the ones before. */
function inflateAll(payloads: string[], windowBits = zlib.Z_DEFAULT_WINDOWBITS): string {
  const stream = Buffer.concat(payloads.flatMap((payload) => (payload === '' ? [] : [bytes(payload), TAIL])))
  if (stream.length === 0) return ''
  // Small pieces, so that nothing is read that a window of this size has lost.
  return inflateRawSync(stream, { finishFlush: zlib.Z_SYNC_FLUSH, windowBits, chunkSize: 64 }).toString()
}

for (const { name, stream, text, fault, max_bytes, max_ratio } of compress.zlib) {
  test(`zlib of Node.js agrees on ${name}`, (t) => {
    const from = bytes(stream)
    if (text !== undefined) {
      t.is(inflateSync(from).toString(), text)
      t.true(max_bytes === undefined || max_bytes === 0 || text.length <= max_bytes)
    } else if (fault === 'TooLarge') {
      const most = Math.min(max_bytes ?? 1 << 20, (max_ratio ?? 200) * from.length)
      t.throws(() => inflateSync(from, { maxOutputLength: most }), { code: 'ERR_BUFFER_TOO_LARGE' })
    } else if (fault === 'TrailingData') {
      // Node.js ignores what follows; it can say how much it read.
      const { engine } = inflateSync(from, { info: true }) as unknown as { engine: { bytesWritten: number } }
      t.true(engine.bytesWritten < from.length)
    } else {
      const error = t.throws<NodeJS.ErrnoException>(() => inflateSync(from))
      t.regex(error.code ?? '', fault === 'Truncated' ? /^Z_BUF_ERROR$/ : /^Z_(DATA_ERROR|NEED_DICT)$/)
    }
  })
}

for (const { name, keeps_window, window_bits, payloads, texts } of compress.messages) {
  // Node.js reads nothing behind a last block.
  if (texts === undefined || texts.includes(null) || name === 'a last block forgets the window') continue
  test(`zlib of Node.js inflates ${name}`, (t) => {
    if (keeps_window) t.is(inflateAll(payloads, window_bits), texts.join(''))
    else
      t.deepEqual(
        payloads.map((payload) => inflateAll([payload], window_bits)),
        texts,
      )
  })
}

for (const { name, format, keeps_window, window_bits, texts, streams } of compress.written) {
  test(`zlib of Node.js inflates what is written here: ${name}`, (t) => {
    const inflate = (stream: string) =>
      format === 'zlib' ? inflateSync(bytes(stream)).toString() : inflateAll([stream], window_bits)
    if (keeps_window) t.is(inflateAll(streams, window_bits), texts.join(''))
    else t.deepEqual(streams.map(inflate), texts)
  })
}

test('a tail is what zlib of Node.js writes behind a flushed message', (t) => {
  t.deepEqual(deflateRawSync('Hello', { finishFlush: zlib.Z_SYNC_FLUSH }).subarray(-4), TAIL)
})

test('@msgpack/msgpack reads what JSON becomes', (t) => {
  for (const { name, json, msgpack: hex } of msgpack.encode) {
    // UTF-8 has no half of a surrogate pair, and integers no negative zero.
    const expected = JSON.parse(json, (_, value) => (typeof value === 'string' ? Buffer.from(value).toString() : value))
    if (name === 'a negative zero is an integer') expected.n = 0
    t.deepEqual(decode(bytes(hex)), expected, name)
  }
})

test('JSON of MessagePack says what @msgpack/msgpack reads', (t) => {
  for (const { name, json, msgpack: hex } of msgpack.decode) {
    if (json === undefined) continue
    // A Buffer has a JSON of its own.
    const value = decode(new Uint8Array(bytes(hex)))
    const base64 = (_: string, value: unknown) =>
      value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value
    t.deepEqual(JSON.parse(json), JSON.parse(JSON.stringify(value, base64)), name)
  }
})

test('what @msgpack/msgpack writes is among what is read', (t) => {
  const written = msgpack.decode.filter(({ writer }) => writer === '@msgpack/msgpack')
  t.not(written.length, 0)
  for (const { name, json = '', msgpack: hex } of written) {
    t.is(Buffer.from(encode(JSON.parse(json))).toString('hex'), hex, name)
  }
})
