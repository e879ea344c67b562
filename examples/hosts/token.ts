// Prints a token with which a user may join the chat for an hour: `JWT_SECRET=… npx tsx examples/hosts/token.ts anna`.
import { encodeJwt } from 'wse-server'

const { JWT_SECRET: secret } = process.env
if (secret === undefined) throw new Error('JWT_SECRET is not set')

const [, , userId = 'anna'] = process.argv
const iat = Math.floor(Date.now() / 1000)
console.log(encodeJwt({ sub: userId, iat, exp: iat + 3600 }, secret, { alg: 'HS256' }))
