/** Texts from clients, on the server's own port. */
import { inbound } from '../inbound.mjs'

export default inbound({
  name: 'inbound',
  title: 'Inbound, 128-byte texts touched by the application',
  peers: ['wse', 'ws', 'socketio', 'bun', 'tokio'],
})
