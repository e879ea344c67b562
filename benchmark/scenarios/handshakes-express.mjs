/** Handshakes on the port of an Express service. Both verify the same token. */
import { churn } from '../churn.mjs'

export default churn({
  name: 'handshakes-express',
  title: 'Handshakes and closes on the port of an Express service, with a token',
  peers: ['wse', 'ws'],
  options: { host: 'express' },
  hasToken: () => true,
})
