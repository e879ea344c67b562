// What a client may not do, on both paths: the offender is told, nobody beside it notices, and nothing of it stays.
// Offences that take their time, and those against a handshake, are in the specs of slow readers and handshakes.
import { createECDH, randomBytes } from 'node:crypto'
import { connect as connectTcp } from 'node:net'
import { deflateSync } from 'node:zlib'
import test from 'ava'
import { until } from './harness/arrivals.js'
import { commonKey, seal } from './harness/encryption.js'
import { entrances } from './harness/entrances.js'
import { Bystander, commit, isClean, type Offence, offend } from './harness/offence.js'
import { Application } from './harness/server.js'
import { frameBytes, OP, openUpgraded, RawSocket, upgradeRequest } from './harness/socket.js'
import { comesBack, inLanes, starts } from './harness/weight.js'

const paths = entrances.filter(({ name }) => ['on a port of its own', 'on the streams of node:http'].includes(name))

const text = (value: string | Buffer, fin = true) => frameBytes(OP.text, value, { fin })
const binary = (...parts: (string | Buffer)[]) =>
  frameBytes(OP.binary, Buffer.concat(parts.map((part) => Buffer.from(part as string))))
/** A fragment without bytes, so many times. */
const empties = (count: number) => Buffer.alloc(6 * count, frameBytes(OP.continuation, '', { fin: false }))

/** JSON with so many objects and arrays inside each other. */
const nested = (depth: number) => `{"t":"x","p":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`
/** The same as MessagePack. */
const packed = (depth: number) =>
  Buffer.concat([Buffer.from([0x81, 0xa1, 0x70]), Buffer.alloc(depth - 1, 0x91), Buffer.from([0xc0])])
/** A text of control characters as MessagePack: a byte each, and six as JSON. */
const controls = Buffer.concat([Buffer.from([0x81, 0xa1, 0x70, 0xdb, 0, 3, 0, 0]), Buffer.alloc(0x30000, 1)])
const story = (length: number) => JSON.stringify({ t: 'x', p: { text: 'x'.repeat(length) } })
const noise = randomBytes(800_000).toString('base64')
/** JSON of so many bytes that hardly shrinks. */
const dense = (length: number) => `{"t":"x","p":{"text":"${noise.slice(0, length - 25)}"}}`

/** Agrees on a key as a client does. */
async function agreed(offender: RawSocket): Promise<Buffer> {
  const pair = createECDH('prime256v1')
  const p = { features: { encryption: true }, encryption_public_key: pair.generateKeys('base64') }
  offender.write(text(JSON.stringify({ t: 'client_hello', p })))
  const hello = await offender.envelope('server_hello')
  return commonKey(pair, hello.p.encryption_public_key as string)
}

const msgpack = 'format=msgpack'

/** PROTOCOL §5, §11 and §13: each offence against how a message is written, and what comes of it. */
const offences: Record<string, Offence> = {
  'an unmasked frame': { bytes: frameBytes(OP.text, '{}', { masked: false }), code: 1002 },
  'the first reserved bit': { bytes: frameBytes(OP.text, '{}', { reserved: 0x40 }), code: 1002 },
  'the second reserved bit': { bytes: frameBytes(OP.text, '{}', { reserved: 0x20 }), code: 1002 },
  'the third reserved bit': { bytes: frameBytes(OP.text, '{}', { reserved: 0x10 }), code: 1002 },
  'a reserved data opcode': { bytes: frameBytes(3, 'x'), code: 1002 },
  'a reserved control opcode': { bytes: frameBytes(11, 'x'), code: 1002 },
  'a fragmented ping': { bytes: frameBytes(OP.ping, 'x', { fin: false }), code: 1002 },
  'an oversize ping': { bytes: frameBytes(OP.ping, 'x'.repeat(126)), code: 1002 },
  'a continuation of nothing': { bytes: frameBytes(OP.continuation, 'x'), code: 1002 },
  'a new message inside an unfinished one': { bytes: Buffer.concat([text('a', false), text('b')]), code: 1002 },
  'a close with half a code': { bytes: frameBytes(OP.close, 'x'), code: 1002 },
  'a close with a code of nobody': { bytes: frameBytes(OP.close, Buffer.from([0x03, 0xed])), code: 1002 },
  'a close reason that is no UTF-8': { bytes: frameBytes(OP.close, Buffer.from([0x03, 0xe8, 0xff])), code: 1007 },
  'text that is no UTF-8': { bytes: text(Buffer.from([0x61, 0xc3, 0x28])), code: 1007 },
  'text with a surrogate': { bytes: text(Buffer.from([0xed, 0xa0, 0x80])), code: 1007 },
  'text beyond Unicode': { bytes: text(Buffer.from([0xf4, 0x90, 0x80, 0x80])), code: 1007 },
  'bad UTF-8 in a message that is not complete': { bytes: text(Buffer.from([0x61, 0xff]), false), code: 1007 },
  'text that ends inside a character': { bytes: text(Buffer.from([0x61, 0xe2, 0x82])), code: 1007 },

  'the header of a message over 1 MiB': { bytes: frameBytes(OP.text, 'x', { claims: 1_048_577n }), code: 1009 },
  'a length that no memory holds': {
    bytes: frameBytes(OP.binary, 'x', { claims: 0x7fff_ffff_ffff_ffffn }),
    code: 1009,
  },
  'fragments of more than 1 MiB': {
    bytes: Buffer.concat([text('x'.repeat(700_000), false), frameBytes(OP.continuation, 'x'.repeat(348_577))]),
    code: 1009,
  },
  'more than 65 537 fragments, empty ones': { bytes: Buffer.concat([text('', false), empties(65_537)]), code: 1009 },

  'JSON that is nested too deeply': { bytes: text(nested(129)), code: 1007 },
  'the same in a binary message': { bytes: binary(nested(129)), code: 1007 },
  'the same in a compressed message': { bytes: binary('C:', deflateSync(nested(129))), code: 1007 },
  'the same in a bare zlib stream': { bytes: binary(deflateSync(nested(129))), code: 1007 },
  'the same in an encrypted message': {
    bytes: async (offender) => binary(seal(await agreed(offender), nested(129))),
    code: 1007,
  },
  'MessagePack that is nested too deeply': { bytes: binary('M:', packed(65)), code: 1007 },
  'the same without its prefix': { bytes: binary(packed(65)), query: msgpack, code: 1007 },
  'MessagePack that is too large as JSON': { bytes: binary('M:', controls), code: 1009 },
  'the same without its prefix, which may be anything': { bytes: binary(controls), query: msgpack, event: 'bin' },
  'MessagePack that promises more than it has': {
    bytes: binary('M:', Buffer.from([0xdf, 0xff, 0xff, 0xff, 0xff])),
    told: ['INVALID_MESSAGE'],
  },
  'a compressed message over 1 MiB inside': { bytes: binary('C:', deflateSync(dense(1_048_577))), code: 1009 },
  'a compressed message 200 times as large inside': { bytes: binary('C:', deflateSync(story(500_000))), code: 1009 },
  'a bare zlib stream like that, which may be anything': { bytes: binary(deflateSync(story(500_000))), event: 'bin' },
  'a compressed message that is none': { bytes: binary('C:', 'rubbish'), told: ['INVALID_MESSAGE'] },
  'a compressed message that is no text': {
    bytes: binary('C:', deflateSync(Buffer.from([0xff]))),
    told: ['INVALID_MESSAGE'],
  },
  'an encrypted message before there is a key': { bytes: binary('E:', randomBytes(40)) },
  'three encrypted messages that nobody can open': {
    bytes: async (offender) => {
      const hello = seal(await agreed(offender), '{"t":"heartbeat"}')
      return Buffer.concat([
        binary(hello),
        binary('E:', randomBytes(40)),
        binary('E:short'),
        binary('E:', randomBytes(40)),
      ])
    },
    told: ['DECRYPTION_FAILED', 'DECRYPTION_FAILED', 'DECRYPTION_FAILED'],
    code: 1002,
  },

  'a batch of more than a thousand': {
    bytes: text(JSON.stringify({ t: 'batch', p: { messages: Array(1_001).fill({ t: 'heartbeat' }) } })),
    told: ['INVALID_MESSAGE'],
  },
  'a request for more topics than one may hold': {
    bytes: text(JSON.stringify({ t: 'subscription', p: { action: 'subscribe', topics: Array(1_025).fill('ticks') } })),
    told: ['INVALID_SUBSCRIPTION'],
  },
  'one topic more than one may hold': {
    bytes: Buffer.concat(
      [Array.from({ length: 1_024 }, (_, n) => `topic ${n}`), ['too many']].map((topics) =>
        text(JSON.stringify({ t: 'subscription', p: { action: 'subscribe', topics } })),
      ),
    ),
    told: ['SUBSCRIPTION_FAILED'],
  },
}

const options = { topics: { allow: ['topic *', 'too many'] } }

for (const { name, open } of paths) {
  for (const [title, offence] of Object.entries(offences)) {
    const outcome = offence.code ? `closes with ${offence.code} on` : 'goes on after'
    test(`${outcome} ${title}, ${name}`, async (t) => offend(t, await open(t, options), [offence]))
  }

  test(`takes what is just within the limits, ${name}`, async (t) => {
    const service = await open(t)
    const application = new Application(service.wse)
    const socket = await openUpgraded(t, service)
    socket.write(Buffer.concat([text('', false), empties(65_535), frameBytes(OP.continuation, 'last')]))
    t.is((await application.next('raw')).text, 'last')
    for (const bytes of [text(nested(128)), binary('C:', deflateSync(nested(128)))]) {
      socket.write(bytes)
      t.is((await application.next('msg')).text, nested(128))
    }
    socket.write(binary('M:', packed(64)))
    t.is((await application.next('msg')).data.p.length, 1)
    socket.write(binary('C:', deflateSync(dense(1_048_576))))
    t.is((await application.next('msg')).text.length, 1_048_576)
  })

  test(`warns a flooder, names the fault and closes with 4429, ${name}`, async (t) => {
    const service = await open(t, { rateLimit: { perSecond: 1_000, burst: 2_000 } })
    const application = new Application(service.wse)
    const bystander = await Bystander.of(t, service)
    const flooder = await openUpgraded(t, service)
    const chat = Buffer.concat(Array(500).fill(text('{"t":"chat","p":{}}')))
    const flood = setInterval(() => flooder.write(chat), 20)
    t.teardown(() => clearInterval(flood))
    const told = async () => {
      const warning = await flooder.envelope('rate_limit_warning')
      const error = await flooder.envelope('error')
      const { code } = await flooder.closeFrame()
      await flooder.ended()
      return [warning.p.limit, error.p.code, code]
    }
    t.deepEqual(await bystander.during(t, told()), [1_000, 'RATE_LIMITED', 4429])
    t.is((await application.next('disconnect')).code, 4429)
    await isClean(t, service, 1)
  })

  test(`closes with 1013 who has most, when unfinished messages of all are too many, ${name}`, async (t) => {
    const inbound = { maxBytes: 1_000_000 }
    const service = await open(t, { shards: 1, maxMessageBytes: 100_000, inbound })
    const application = new Application(service.wse)
    const bystander = await Bystander.of(t, service)
    const message = text('x'.repeat(100_000))
    const small = await Promise.all(Array.from({ length: 20 }, () => openUpgraded(t, service)))
    const large = await openUpgraded(t, service)
    const offence = async () => {
      // All but one may be unfinished beside one that is nearly whole, however its bytes arrive.
      for (const socket of small) socket.write(message.subarray(0, 46_000))
      await until('unfinished messages to be counted', () => service.wse.memory().inboundBytes > 900_000)
      large.write(message.subarray(0, -1))
      const { code } = await large.closeFrame()
      await large.ended()
      return code
    }
    t.is(await bystander.during(t, offence()), 1013)
    for (const socket of small) {
      socket.write(message.subarray(46_000))
      t.is((await application.next('raw')).text.length, 100_000)
    }
    await isClean(t, service, 21)
  })
}

// What is large is sent less often: the bytes are the clients' work. 50 KiB of each of one kind would be seen.
const often = Object.values(offences).flatMap((offence) => {
  const isLarge = offence.bytes instanceof Buffer && offence.bytes.length > 16_384
  return Array<Offence>(isLarge ? 10 : 200).fill(offence)
})

for (const [where, start] of Object.entries(starts)) {
  test(`has its descriptors and memory back after thousands of offences ${where}`, (t) =>
    comesBack(t, start, (port) =>
      inLanes(often.length, async (n) => {
        const offence = often[n] as Offence
        const offender = new RawSocket(connectTcp({ host: '127.0.0.1', port }))
        offender.write(upgradeRequest({ path: `/wse?${offence.query ?? ''}` }))
        await offender.envelope('server_ready')
        const outcome = await commit(offender, offence)
        if (outcome.at(-1) !== (offence.code ?? 1000)) t.fail(`closed with ${outcome.at(-1)}`)
      }),
    ))
}
