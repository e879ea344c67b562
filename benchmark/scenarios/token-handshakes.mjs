/** Handshakes with tokens of each algorithm, on a port of node:http: what checking one costs. */
import { churn } from '../churn.mjs'

export default churn({
  name: 'token-handshakes',
  title: 'Handshakes and closes on the port of node:http, by the algorithm of the token',
  peers: ['wse-descriptor', 'wse-hs256', 'wse-rs256', 'wse-es256', 'ws-hs256', 'ws-rs256', 'ws-es256'],
  options: {},
  hasToken: (peer) => peer !== 'wse-descriptor',
})
