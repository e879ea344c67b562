/** One message to five thousand: the sockets no longer fit into the processor's caches. */
import { fanOut } from '../fan-out.mjs'

export default fanOut({
  name: 'fan-out-5000',
  title: 'Fan-out to 5 000, one message a turn',
  subscribers: 5000,
  perTurn: 1,
})
