/** Fan-out inside TLS: each connection has its own key, so no two of them get the same bytes. */
import { fanOut } from '../fan-out.mjs'

export default fanOut({
  name: 'tls-fan-out',
  title: 'Fan-out to 1 000 inside TLS, one message a turn',
  subscribers: 1000,
  perTurn: 1,
  peers: ['wse-tls', 'wse-https', 'ws-https'],
})
