// Envelopes as a client reads them.

export interface Envelope {
  t: string
  p: Record<string, unknown>
  id: string
  ts: string
  v: number
  seq?: number
  _msg_cat: string
  [member: string]: unknown
}

/** The type of an envelope; undefined for text that is none. */
export function typeOf(text: string): unknown {
  try {
    return (JSON.parse(text) as { t?: unknown } | null)?.t
  } catch {
    // Text that is no envelope has no type.
    return undefined
  }
}
