/** Handshakes on the ports of frameworks: an upgrade does not go through their routes, so they should cost alike. */
import { churn } from '../churn.mjs'

export default churn({
  name: 'hosts-handshakes',
  title: 'Handshakes and closes on the port of a host, no token',
  peers: ['wse-http', 'wse-express', 'wse-fastify', 'wse-koa', 'wse-hono', 'wse-nest', 'ws'],
  options: {},
  hasToken: () => false,
})
