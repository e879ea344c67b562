/** What a publication costs the application's thread without and with a log, where it waits for a position and not. */
import { burst } from '../burst.mjs'
import { logged, plain } from '../recovery.mjs'

export default burst({
  name: 'publish-call',
  title: 'One call of broadcast and of publish, without and with recovery, one subscriber',
  peers: [
    called(plain, 'broadcast', 'broadcast'),
    called(logged, 'broadcast', 'broadcast, recovery'),
    called(plain, 'publish', 'publish'),
    called(logged, 'publish', 'publish, recovery'),
  ],
})

function called(peer, call, label) {
  return { ...peer, name: `${peer.name}-${call}`, label, options: { ...peer.options, call } }
}
