/** What a log and its stamps cost a fan-out: the same messages without and with them. */
import { fanOut } from '../fan-out.mjs'
import { logged, plain } from '../recovery.mjs'

export default fanOut({
  name: 'recovery-fan-out',
  title: 'Fan-out to 1 000 without and with recovery, one message a turn',
  subscribers: 1000,
  perTurn: 1,
  peers: [plain, logged, 'socketio', 'socketio-recovery'],
})
