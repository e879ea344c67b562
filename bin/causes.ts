/**
 * What usually leads to a fault, and what helps: one sentence for each that has one.
 *
 * @module
 */

const TIMEOUT = 'a firewall or a security group drops the packets, or the address is of a machine that is off'

/** Of names and connections, by the system's code. */
export const NETWORK: Readonly<Record<string, string>> = {
  ENOTFOUND: 'the name is misspelt, or not known to the DNS that this machine asks',
  EAI_AGAIN: 'this machine reaches no DNS server',
  ECONNREFUSED: 'nothing listens there: the server is down, has another port, or listens on 127.0.0.1 only',
  ETIMEDOUT: TIMEOUT,
  EHOSTUNREACH: TIMEOUT,
  ENETUNREACH: 'this machine has no route there; for an IPv6 address: it has no IPv6',
  ECONNRESET: 'what listens there ends the connection: it speaks TLS (wss://), or another protocol',
  EPROTO: 'what listens there speaks no TLS: try ws://',
}

/** Of TLS, by the code that verification or OpenSSL gives. */
export const CERTIFICATE: Readonly<Record<string, string>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: 'the server signed its certificate itself: --ca FILE trusts it here, browsers will not',
  SELF_SIGNED_CERT_IN_CHAIN: 'the certificate comes from an authority of your own: --ca FILE trusts it here',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    'the server sends its own certificate without the intermediate ones: give it the full chain (fullchain.pem)',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    'the chain is not complete, or comes from an authority of your own: give the server the full chain, or use --ca',
  CERT_HAS_EXPIRED: 'the renewal failed, or the server did not read the new files',
  CERT_NOT_YET_VALID: 'the clock of this machine, or of the one that made the certificate, is wrong',
  ERR_TLS_CERT_ALTNAME_INVALID: 'another site of the proxy answers: it has no server block for this name',
  ERR_SSL_WRONG_VERSION_NUMBER: 'what listens there speaks no TLS: try ws://',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'what listens there speaks no TLS: try ws://',
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: 'the server speaks only versions of TLS that are too old',
  ECONNRESET: 'what listens there ends the connection: it speaks no TLS, or has no certificate for this name',
  ETIMEDOUT: 'what listens there says nothing: it speaks no TLS, or waits for something else',
}

const NOT_PASSED_ON =
  'a proxy does not pass Upgrade and Connection on; nginx: proxy_http_version 1.1, proxy_set_header Upgrade ' +
  '$http_upgrade, proxy_set_header Connection upgrade'
const REDIRECTED = 'WebSocket clients follow no redirection: use the address that it names, with wss:// for https://'

/** Of an answer instead of an upgrade, by its status. */
export const ANSWERS: Readonly<Record<number, string>> = {
  200: `the path leads to something else, or ${NOT_PASSED_ON}`,
  301: REDIRECTED,
  302: REDIRECTED,
  307: REDIRECTED,
  308: REDIRECTED,
  400: 'a proxy asks with HTTP/1.0 (nginx: proxy_http_version 1.1), or this port wants TLS (wss://)',
  401: 'something before the server wants a login of its own; --header gives it one',
  403: 'the origin is not allowed (allowedOrigins), or a firewall for applications refuses WebSockets',
  404: 'the path is another one; the usual one is /wse',
  405: NOT_PASSED_ON,
  426: NOT_PASSED_ON,
  429: 'something before the server limits how often an address may connect',
  502: 'the proxy reaches no server: none listens where it looks',
  503: 'the server is full (maxConnections) or closing, or the proxy has none left',
  504: 'the proxy reaches the server and gets no answer: it is stuck, or the proxy looks at a wrong address',
}

/** Of an answer that is not the engine's on a path where the engine is known to be. */
export const upgradeCause = (status: number, isThere: boolean): string | undefined =>
  isThere && [200, 400, 404, 405].includes(status) ? NOT_PASSED_ON : ANSWERS[status]

export const HELD_BACK =
  'a proxy collects what the server sends until a buffer is full (nginx never does so with WebSockets; others: switch ' +
  'off response buffering or inspection for this path)'

/** Of a connection that ends while it is idle. */
export const IDLE =
  'a proxy or a balancer cuts silent connections before the heartbeat: raise its limit above heartbeatIntervalMs ' +
  '(nginx: proxy_read_timeout), or lower heartbeatIntervalMs'

/** Of an end in place of the greeting, by the close code. */
export const CLOSINGS: Readonly<Record<number, string>> = {
  1006: 'a proxy lets the upgrade through and then cuts the connection, or the server fell',
  1012: 'the server is closing',
  1013: 'the server has too much to do',
  4403: 'the user is not allowed, or was replaced by a newer connection',
  4429: 'the user has too many connections (maxConnectionsPerUser)',
}
