/** Fan-out on the port of a `node:http` server: who writes to the sockets, a thread of the engine or Node.js. */
import { fanOut } from '../fan-out.mjs'

export default fanOut({
  name: 'paths-fan-out',
  title: 'Fan-out to 1 000 on a host, one message a turn',
  subscribers: 1000,
  perTurn: 1,
  peers: ['wse-descriptor', 'wse-stream', 'ws'],
})
