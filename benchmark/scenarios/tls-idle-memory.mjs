/** Connections that wait inside TLS: what a session keeps comes on top of what a connection does. */
import { idleMemory } from '../idle-memory.mjs'

export default idleMemory({
  name: 'tls-idle-memory',
  title: 'Idle connection inside TLS with a topic',
  peers: ['wse-tls', 'wse-https', 'ws-https'],
  hasToken: () => false,
})
