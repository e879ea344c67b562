/** Fan-out on the port of a `node:http` server: who writes to the sockets, a thread of the engine or Node.js. */
import { fanOut } from '../fan-out.mjs'

export default fanOut({
  name: 'paths-fan-out-x16',
  title: 'Fan-out to 1 000 on a host, sixteen messages a turn',
  subscribers: 1000,
  perTurn: 16,
  peers: ['wse-descriptor', 'wse-stream', 'ws'],
})
