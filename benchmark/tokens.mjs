/**
 * The tokens of the benchmark's clients: one user each, signed with the algorithm that is asked for.
 */
import { createHmac, sign as createSignature, generateKeyPairSync, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const LIFE_SECONDS = 6 * 3600
/** How each algorithm signs, and the option `jwt` of a server that checks it. */
const signers = {
  HS256() {
    const secret = randomBytes(32).toString('base64url')
    return { jwt: { secret }, sign: (text) => createHmac('sha256', secret).update(text).digest('base64url') }
  },
  RS256: () => signer('RS256', generateKeyPairSync('rsa', { modulusLength: 2048 })),
  ES256: () => signer('ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' })),
}

/** Files of tokens, which the load generator reads: each is written when it is asked for; `remove()` deletes them. */
export class Tokens {
  #folder = mkdtempSync(join(tmpdir(), 'wse-benchmark-'))
  #issued = new Map()
  #count

  /** So many of each algorithm; a private key takes its time, so there are a tenth of those. */
  constructor(count) {
    this.#count = count
  }

  /** The file of the tokens with this algorithm, and the option of a server that checks them. */
  of(algorithm) {
    if (!this.#issued.has(algorithm)) this.#issued.set(algorithm, this.#issue(algorithm))
    return this.#issued.get(algorithm)
  }

  remove() {
    rmSync(this.#folder, { recursive: true })
  }

  #issue(algorithm) {
    const { jwt, sign } = signers[algorithm]()
    const exp = Math.floor(Date.now() / 1000) + LIFE_SECONDS
    const count = algorithm === 'HS256' ? this.#count : this.#count / 10
    const tokens = Array.from({ length: count }, (_, user) => {
      const text = `${part({ alg: algorithm, typ: 'JWT' })}.${part({ sub: `user-${user}`, exp })}`
      return `${text}.${sign(text)}`
    })
    const file = join(this.#folder, algorithm)
    writeFileSync(file, tokens.join('\n'))
    return { file, jwt }
  }
}

function signer(algorithm, { publicKey, privateKey }) {
  return {
    jwt: { publicKey: publicKey.export({ type: 'spki', format: 'pem' }), algorithm },
    sign: (text) =>
      createSignature('sha256', Buffer.from(text), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString(
        'base64url',
      ),
  }
}

function part(value) {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}
