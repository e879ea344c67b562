import { createCipheriv, createDecipheriv, createECDH, hkdfSync, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import test from 'ava'
import { CompactEncrypt, compactDecrypt } from 'jose'
import { connect } from './harness/connect.js'
import { Application, startServer } from './harness/server.js'

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

const vectors = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`../spec/vectors/${name}.json`, import.meta.url), 'utf8'))
const encryption = vectors('encryption') as Encryption
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
