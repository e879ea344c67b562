/** The same where the kernel has less to do for each delivery, so that the longer message weighs more. */
import { fanOut } from '../fan-out.mjs'
import { logged, plain } from '../recovery.mjs'

export default fanOut({
  name: 'recovery-fan-out-x16',
  title: 'Fan-out to 1 000 without and with recovery, sixteen messages a turn',
  subscribers: 1000,
  perTurn: 16,
  peers: [plain, logged],
})
