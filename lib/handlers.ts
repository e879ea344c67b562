/**
 * Answers that only the application can give: who a connection is.
 *
 * Checks what comes back; never lets a fault of the application open the door.
 *
 * @module
 */
import { WseError } from './errors.js'
import type { Log } from './log.js'
import type { AuthenticateRequest, ServerOptions } from './types.js'

/** Who it is: the application's answer, checked, its claims as JSON. */
export interface Decided {
  readonly userId: string
  readonly claims: string
}

/** Asks the application; null refuses. It never rejects. */
export type Authenticate = (request: AuthenticateRequest) => Promise<Decided | null>

/** The application's hook with its answer checked: one that fails refuses, and the log is told. */
export function authenticating(hook: NonNullable<ServerOptions['authenticate']>, log: Log): Authenticate {
  return async (request) => {
    try {
      const identity = await hook(request)
      if (identity === null || identity === undefined) return null
      const { userId, claims = {} } = identity
      if (typeof userId !== 'string' || userId === '' || typeof claims !== 'object' || Array.isArray(claims)) {
        throw new WseError('WSE_IDENTITY_INVALID', 'authenticate resolves to { userId, claims } or to null')
      }
      return { userId, claims: JSON.stringify(claims ?? {}) }
    } catch (err) {
      const code = err instanceof WseError ? err.code : 'HANDLER_ERROR'
      log.fault('WseAuthenticateWarning', 'authenticate failed', { code, callback: 'authenticate', err })
      return null
    }
  }
}
