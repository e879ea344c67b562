/** One message to a thousand, as often as the host's event loop turns. */
import { fanOut } from '../fan-out.mjs'

export default fanOut({
  name: 'fan-out-1000',
  title: 'Fan-out to 1 000, one message a turn',
  subscribers: 1000,
  perTurn: 1,
})
