/**
 * The certificate of the benchmark's servers: P-256, as most public ones are today, signed by itself.
 */
import { generate } from 'selfsigned'

/** PEM texts for the options `tls` of `listen` and of `node:https`. */
export async function issueCertificate() {
  const attributes = [{ name: 'commonName', value: 'localhost' }]
  const { cert, private: key } = await generate(attributes, { keyType: 'ec', curve: 'P-256', algorithm: 'sha256' })
  return { cert, key }
}
