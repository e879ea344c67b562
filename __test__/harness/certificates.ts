// Certificates of tests: made anew in each run, for 127.0.0.1 and localhost, trusted by nobody else.
import { generate } from 'selfsigned'

export interface Certificate {
  /** Both as PEM. */
  cert: string
  key: string
}

/** A certificate, valid from yesterday to tomorrow unless told otherwise; another key each time. */
export async function makeCertificate({ from = -1, to = 1 } = {}): Promise<Certificate> {
  const dayFrom = (days: number) => new Date(Date.now() + days * 86_400_000)
  const altNames = [
    { type: 7, ip: '127.0.0.1' },
    { type: 2, value: 'localhost' },
  ] as const
  const { cert, private: key } = await generate([{ name: 'commonName', value: 'localhost' }], {
    keyType: 'ec',
    algorithm: 'sha256',
    notBeforeDate: dayFrom(from),
    notAfterDate: dayFrom(to),
    extensions: [
      { name: 'basicConstraints', cA: true },
      { name: 'subjectAltName', altNames: [...altNames] },
    ],
  })
  return { cert, key }
}
