/** Connections that wait, on the server's own port. Only wse-server is shown a token, and verifies it. */
import { idleMemory } from '../idle-memory.mjs'

export default idleMemory({
  name: 'idle-memory',
  title: 'Idle connection with a user and a topic',
  peers: ['wse', 'ws', 'socketio', 'bun', 'tokio'],
  hasToken: (peer) => peer === 'wse',
})
