/** Full handshakes: key exchange, signature and upgrade for every connection. Nobody comes back with a ticket. */
import { churn } from '../churn.mjs'

export default churn({
  name: 'tls-handshakes',
  title: 'Full TLS handshakes with upgrade and close, P-256',
  peers: ['wse-tls', 'wse-https', 'ws-https'],
  options: {},
  hasToken: () => false,
})
