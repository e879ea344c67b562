/** A busy topic: sixteen messages come together, and a server may write them together. */
import { fanOut } from '../fan-out.mjs'

export default fanOut({
  name: 'fan-out-1000x16',
  title: 'Fan-out to 1 000, sixteen messages a turn',
  subscribers: 1000,
  perTurn: 16,
})
