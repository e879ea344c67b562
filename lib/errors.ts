/**
 * Errors of the API. Match on {@link WseError.code}; wording may change in any release.
 *
 * @module
 */

/** The codes of the API's errors, see docs/reference/errors.md. */
export type ErrorCode =
  | 'WSE_ADOPT_FAILED'
  | 'WSE_ATTACH_UNSUPPORTED'
  | 'WSE_BINARY_MISSING'
  | 'WSE_CONSUMER_TAKEN'
  | 'WSE_DRAIN_BUSY'
  | 'WSE_EVENT_INVALID'
  | 'WSE_IDENTITY_INVALID'
  | 'WSE_INTERNAL'
  | 'WSE_JWKS_FAILED'
  | 'WSE_LISTEN_FAILED'
  | 'WSE_MESSAGE_INVALID'
  | 'WSE_MESSAGE_TOO_LARGE'
  | 'WSE_OPTION_INVALID'
  | 'WSE_OPTION_UNKNOWN'
  | 'WSE_PATH_TAKEN'
  | 'WSE_PRESENCE_TOO_LARGE'
  | 'WSE_RESERVED_MEMBER'
  | 'WSE_SERVER_CLOSED'
  | 'WSE_SERVER_STARTED'
  | 'WSE_SIGNATURE_INVALID'
  | 'WSE_START_FAILED'
  | 'WSE_TLS_INVALID'
  | 'WSE_TOKEN_INVALID'
  | 'WSE_TOPIC_INVALID'
  | 'WSE_TOPIC_LOGGED'
  | 'WSE_TOPIC_UNLOGGED'
  | 'WSE_SERVER_OVERLOADED'

/** Everything that this package throws. */
export class WseError extends Error {
  override readonly name = 'WseError'

  constructor(
    /** The stable name of the fault. */
    readonly code: ErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}

/** What the addon says of an argument that it cannot read. */
const MISREAD = /^(InvalidArg|\w+Expected)$/

/** Rebuilds the error that the addon folded into one string: `WSE_CODE: message`. */
export function fromNative(cause: unknown): WseError {
  if (cause instanceof WseError) return cause
  const text = cause instanceof Error ? cause.message : String(cause)
  const parts = /^(WSE_[A-Z0-9_]+): (.*)$/s.exec(text)
  const isMisread = MISREAD.test((cause as { code?: string } | null)?.code ?? '')
  const code = parts?.[1] ?? (isMisread ? 'WSE_OPTION_INVALID' : 'WSE_INTERNAL')
  return new WseError(code as ErrorCode, parts?.[2] ?? text, { cause })
}

/** Runs `call`; what the addon throws comes out as a {@link WseError}. */
export function translated<T>(call: () => T): T {
  try {
    return call()
  } catch (cause) {
    throw fromNative(cause)
  }
}
