/**
 * Who is at the page: a signed token in a cookie, good for HTTP and for the WebSocket alike.
 *
 * Owns the token's claims, key and lifetime. Never asks for a password: this is a demonstration, and any name opens
 * an account of its own.
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type NextFunction, type Request, type Response, Router, urlencoded } from 'express'
import { jwtVerify } from 'jose'
import { encodeJwt } from 'wse-server'

const COOKIE = 'access_token'
const PAGE_SECONDS = 12 * 3600
const TERMINAL_SECONDS = 3600

/** Letters, digits, `_` and `-`: nothing that means something inside a topic. */
const USER_ID = /^[a-z0-9_-]{1,24}$/

export class Sessions {
  /** How tokens are signed and checked: the engine's `jwt` option. */
  readonly jwt: { secret: string; algorithm: 'HS256'; issuer: string; audience: string; cookieName: string }

  constructor(secret: string) {
    this.jwt = { secret, algorithm: 'HS256', issuer: 'trading-desk', audience: 'trading-desk', cookieName: COOKIE }
  }

  /** Signing in and out, by plain forms; who is signed in; and a token as text for clients without cookies. */
  router(): Router {
    const router = Router()
    router.post('/login', urlencoded(), (request, response) => {
      const userId = String(request.body?.name).trim().toLowerCase()
      if (!USER_ID.test(userId)) {
        response.status(400).send('A name is 1 to 24 letters, digits, "_" or "-".')
        return
      }
      const cookie = { httpOnly: true, sameSite: 'lax', maxAge: PAGE_SECONDS * 1000 } as const
      toPage(response.cookie(COOKIE, this.#token(userId, PAGE_SECONDS), cookie))
    })
    router.post('/logout', (_request, response) => toPage(response.clearCookie(COOKIE)))
    router.get('/api/session', this.requireUser, (_request, response) => {
      response.json({ userId: userOf(response) })
    })
    router.get('/api/token', this.requireUser, (_request, response) => {
      response.type('text').send(this.#token(userOf(response), TERMINAL_SECONDS))
    })
    return router
  }

  /** Lets a request with a good cookie pass and answers 401 to all others. */
  requireUser = async (request: Request, response: Response, next: NextFunction): Promise<void> => {
    const token = new RegExp(`(?:^|; )${COOKIE}=([^;]+)`).exec(request.headers.cookie ?? '')?.[1] ?? ''
    const { secret, algorithm, issuer, audience } = this.jwt
    try {
      const checks = { algorithms: [algorithm], issuer, audience, requiredClaims: ['sub', 'exp'] }
      response.locals.userId = (await jwtVerify(token, new TextEncoder().encode(secret), checks)).payload.sub
    } catch {
      response.status(401).json({ error: 'Please sign in.' })
      return
    }
    next()
  }

  #token(userId: string, seconds: number): string {
    const { secret, algorithm, issuer: iss, audience: aud } = this.jwt
    const iat = Math.floor(Date.now() / 1000)
    return encodeJwt({ sub: userId, iss, aud, iat, exp: iat + seconds }, secret, { alg: algorithm })
  }
}

function toPage(response: Response): void {
  response.status(303).location('/').end()
}

/** The user whom `requireUser` let pass. */
export function userOf(response: Response): string {
  return response.locals.userId as string
}

/** `JWT_SECRET`, else one drawn at random: kept in `folder`, so that a restart signs nobody out, or not at all. */
export function sessionSecret(folder: string | undefined): string {
  if (process.env.JWT_SECRET) return process.env.JWT_SECRET
  const drawn = randomBytes(32).toString('hex')
  if (folder === undefined) return drawn
  const path = join(folder, 'jwt-secret')
  mkdirSync(folder, { recursive: true })
  try {
    writeFileSync(path, drawn, { mode: 0o600, flag: 'wx' })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  return readFileSync(path, 'utf8')
}
