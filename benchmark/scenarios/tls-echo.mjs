/** Questions and answers inside TLS. */
import { echo } from '../echo.mjs'

export default echo({
  name: 'tls-echo',
  title: 'Echo inside TLS',
  peers: ['wse-tls', 'wse-https', 'ws-https'],
})
