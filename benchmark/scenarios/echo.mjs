/** Questions and answers on the server's own port. */
import { echo } from '../echo.mjs'

export default echo({
  name: 'echo',
  title: 'Echo through the application',
  peers: ['wse', 'ws', 'socketio', 'bun', 'tokio'],
})
