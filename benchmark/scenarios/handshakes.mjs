/** Handshakes on the server's own port. Only wse-server is shown a token, and verifies it. */
import { churn } from '../churn.mjs'

export default churn({
  name: 'handshakes',
  title: 'Handshakes and closes, own port; a token for wse-server, none for the others',
  peers: ['wse', 'ws', 'socketio', 'bun', 'tokio'],
  options: {},
  hasToken: (peer) => peer === 'wse',
})
