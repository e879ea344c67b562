/** Texts from clients, on the port of a `node:http` server. */
import { inbound } from '../inbound.mjs'

export default inbound({
  name: 'paths-inbound',
  title: 'Inbound on a host, 128-byte texts touched by the application',
  peers: ['wse-descriptor', 'wse-stream', 'ws'],
})
