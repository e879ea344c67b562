import { createCipheriv, createDecipheriv, createECDH, createHmac, hkdfSync, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import test from 'ava'
import { CompactEncrypt, compactDecrypt } from 'jose'
import { connect } from './harness/connect.js'
import { Application, startServer } from './harness/server.js'
import { canonical, isSigned, type Json } from './harness/signature.js'

interface Encryption {
  exchanges: {
    name: string
    scalar: string
    public: string
    peer: string
    x: string
    key: string
    frames: { nonce: string; text: string; frame: string }[]
  }[]
  refused_keys: { name: string; public: string }[]
  refused_frames: { name: string; frame: string; why: string }[]
}

interface Signing {
  canonical: { name: string; json: string; canonical: string }[]
  numbers: [bits: string, text: string][]
  secret: string
  at_ms: number
  nonce: string
  signatures: { name: string; kid: string; envelope: string; signed_text: string; signed: string }[]
  accepted: { name: string; text: string }[]
  refused: { name: string; text: string; why: string }[]
  ticket_secret: string
  ticket_key: string
  tickets: { name: string; content: string; ticket: string }[]
  refused_tickets: { name: string; ticket: string; why: string }[]
}

const vectors = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`../spec/vectors/${name}.json`, import.meta.url), 'utf8'))
const encryption = vectors('encryption') as Encryption
const signing = vectors('signing') as Signing
const hex = (text: string) => Buffer.from(text, 'hex')

function keyPair(scalar: string) {
  const ecdh = createECDH('prime256v1')
  ecdh.setPrivateKey(scalar, 'hex')
  return ecdh
}

/** The bytes of a public key; throws where it is not the padded base64 of an uncompressed point. */
function point(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64')
  if (bytes.toString('base64') !== text || bytes.length !== 65 || bytes[0] !== 4) throw new Error('not a public key')
  return bytes
}

function open(key: Buffer, frame: Buffer): string {
  if (frame.toString('latin1', 0, 2) !== 'E:' || frame.length < 30) throw new Error('not an encrypted message')
  const decipher = createDecipheriv('aes-256-gcm', key, frame.subarray(2, 14))
  decipher.setAuthTag(frame.subarray(-16))
  const text = Buffer.concat([decipher.update(frame.subarray(14, -16)), decipher.final()])
  return new TextDecoder('utf-8', { fatal: true }).decode(text)
}

test('agrees with node:crypto about keys and encrypted messages', (t) => {
  for (const { name, scalar, peer, x, key, ...exchange } of encryption.exchanges) {
    const pair = keyPair(scalar)
    t.is(pair.getPublicKey('base64'), exchange.public, name)
    t.is(pair.computeSecret(point(peer)).toString('hex'), x, name)
    t.is(Buffer.from(hkdfSync('sha256', hex(x), '', 'wse-encryption/aes-gcm-key', 32)).toString('hex'), key, name)
    for (const { nonce, text, frame } of exchange.frames) {
      const cipher = createCipheriv('aes-256-gcm', hex(key), hex(nonce))
      const sealed = [cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]
      t.is(Buffer.concat([Buffer.from('E:'), hex(nonce), ...sealed]).toString('hex'), frame, name)
      t.is(open(hex(key), hex(frame)), text, name)
    }
  }
})

test('agrees with node:crypto about what is no key and what does not open', (t) => {
  const { scalar = '', key = '' } = encryption.exchanges[0] ?? {}
  for (const { name, public: text } of encryption.refused_keys) {
    t.throws(() => keyPair(scalar).computeSecret(point(text)), undefined, name)
  }
  for (const { name, frame } of encryption.refused_frames) {
    t.throws(() => open(hex(key), hex(frame)), undefined, name)
  }
})

test('agrees with JSON.stringify about the canonical form', (t) => {
  for (const { name, json, ...expected } of signing.canonical) {
    t.is(canonical(JSON.parse(json) as Json), expected.canonical, name)
  }
  for (const [bits, text] of signing.numbers) t.is(JSON.stringify(hex(bits).readDoubleBE()), text, bits)
})

const isGenuine = (text: string) => isSigned(JSON.parse(text), hex(signing.secret))

test('agrees with node:crypto about the signatures of envelopes', (t) => {
  for (const { name, kid, envelope, signed_text, signed } of signing.signatures) {
    const nonce = hex(signing.nonce).toString('base64url')
    const unsigned = { ...(JSON.parse(envelope) as object), sig: { kid, ts: signing.at_ms, nonce } }
    t.is(canonical(unsigned as Json), signed_text, name)
    const mac = createHmac('sha256', hex(signing.secret)).update(signed_text).digest('base64url')
    t.deepEqual(JSON.parse(signed), { ...unsigned, sig: { ...unsigned.sig, mac } }, name)
    t.true(signed.startsWith(envelope.trimEnd().slice(0, -1)), name)
  }
  for (const { name, text } of signing.accepted) t.true(isGenuine(text), name)
  for (const { name, text, why } of signing.refused) {
    // What is late or of nobody is signed well, so that its refusal proves the rule.
    if (why === 'stale' || why === 'unknown') t.true(isGenuine(text), name)
    if (why === 'forged') t.false(isGenuine(text), name)
  }
})

test('agrees with node:crypto about tickets', (t) => {
  const key = Buffer.from(hkdfSync('sha256', hex(signing.ticket_secret), '', 'wse-tickets/hmac-key', 32))
  t.is(key.toString('hex'), signing.ticket_key)
  const codeOf = (content: string) => createHmac('sha256', key).update(content).digest('base64url')
  for (const { name, content, ticket } of signing.tickets) {
    const encoded = Buffer.from(content).toString('base64url')
    t.is(`${encoded}.${codeOf(encoded)}`, ticket, name)
  }
  for (const { name, ticket, why } of signing.refused_tickets) {
    const [content = '', code = ''] = ticket.split('.')
    if (why === 'forged') t.not(codeOf(content), code, name)
    if (why === 'kind' || why === 'expired') t.is(codeOf(content), code, name)
  }
})

test('passes on what clients encrypted for each other, byte for byte', async (t) => {
  const server = await startServer(t, { topics: { allow: ['notes'] } })
  const application = new Application(server)
  const [writer, reader] = [await connect(t, server), await connect(t, server)]
  await reader.subscribe(['notes'])

  const key = randomBytes(32)
  const secret = '{"text":"Grüße"}'
  const jwe = await new CompactEncrypt(Buffer.from(secret))
    .setProtectedHeader({ alg: 'dir', enc: 'A256GCM' })
    .encrypt(key)
  writer.send(`{"t":"note","enc":true,"p": {"enc":"${jwe}"}}`)
  const { text } = await application.next('msg', ({ data }) => data.t === 'note')
  server.broadcast('notes', text)

  const arrived = await reader.nextText((text) => text.includes('"note"'))
  t.true(arrived.endsWith(text.slice(1)))
  const { enc, p } = JSON.parse(arrived) as { enc: boolean; p: { enc: string } }
  t.true(enc)
  const { plaintext } = await compactDecrypt(p.enc, key)
  t.is(Buffer.from(plaintext).toString(), secret)
})
