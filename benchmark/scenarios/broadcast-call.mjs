/** What one call costs the application's thread: the part that no other thread can take over. */
import { burst } from '../burst.mjs'

export default burst({
  name: 'broadcast-call',
  title: 'One call of broadcast, 128-byte text, one subscriber',
  peers: ['wse', 'ws', 'socketio', 'bun'],
})
