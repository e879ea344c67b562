/** Questions and answers on the port of a `node:http` server. */
import { echo } from '../echo.mjs'

export default echo({
  name: 'paths-echo',
  title: 'Echo on a host',
  peers: ['wse-descriptor', 'wse-stream', 'ws'],
})
