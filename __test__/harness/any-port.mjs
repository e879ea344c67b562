// Preloaded into programs of the documentation: a port that they ask for becomes any free one, and standard output
// says which, as `▸ http://localhost:N`. Their code stays as readers see it.
import { Server } from 'node:net'
import { Server as TlsServer } from 'node:tls'
import { WseServer } from 'wse-server'

const listen = Server.prototype.listen
Server.prototype.listen = function (first, ...rest) {
  const isPort = ['number', 'string'].includes(typeof first) && Number.isInteger(Number(first))
  const port = isPort ? 0 : first?.port === undefined ? first : { ...first, port: 0 }
  this.once('listening', () => say(this instanceof TlsServer, this.address().port))
  return Reflect.apply(listen, this, [port, ...rest])
}

const listenAlone = WseServer.prototype.listen
WseServer.prototype.listen = async function (options) {
  const address = await Reflect.apply(listenAlone, this, [{ ...options, port: 0 }])
  say(options.tls !== undefined, address.port)
  return address
}

function say(isEncrypted, port) {
  console.log(`▸ ${isEncrypted ? 'https' : 'http'}://localhost:${port}`)
}
