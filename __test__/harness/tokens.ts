// Tokens of tests, signed by a third-party library so that the engine's own signing proves nothing to itself.
import { type JWTPayload, SignJWT } from 'jose'

/** The secret that tests configure as `jwt.secret`. */
export const secret = 'a secret of the tests, thirty-two bytes and more'

/** A valid token of this user, unless the claims or the header say otherwise. */
export function tokenOf(
  userId: string | undefined,
  claims: Record<string, unknown> = {},
  { header = {}, key = secret }: { header?: Record<string, unknown>; key?: string } = {},
): Promise<string> {
  const now = Math.floor(Date.now() / 1000)
  const subject = userId === undefined ? {} : { sub: userId }
  return new SignJWT({ ...subject, iat: now, exp: now + 600, ...claims } as JWTPayload)
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT', ...header })
    .sign(new TextEncoder().encode(key))
}
