/**
 * The benchmark's application on Bun's own server, with its native publish.
 */
import { dlopen } from 'bun:ffi'
import { Application } from './application.mjs'
import { Backlog } from './backlog.mjs'

const subscribers = new Set()
const backlog = new Backlog(subscribers, (socket) => socket.getBufferedAmount())
const monotonic = monotonicClock()
let server

await new Application({
  open,
  subscribers: () => subscribers.size,
  publish: (text) => server.publish('bench', text),
  backlog: () => backlog.turns(),
  now: monotonic,
  collect: () => Bun.gc(true),
}).run()

function open({ mode }, application) {
  server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    fetch(request, self) {
      const user = request.url.split('user=')[1]
      return self.upgrade(request, { data: { user } }) ? undefined : new Response('no upgrade', { status: 400 })
    },
    websocket: {
      open(socket) {
        if (mode === 'churn') return
        socket.subscribe('bench')
        subscribers.add(socket)
      },
      close: (socket) => subscribers.delete(socket),
      message(socket, text) {
        if (mode === 'echo') socket.sendText(text)
        else application.receive(text)
      },
    },
  })
  return {
    port: server.port,
    path: '/?user={i}',
    versions: { bun: Bun.version },
    options: 'defaults: no compression; server.publish to a topic',
  }
}

/** Bun's own clocks count from the start of the process; the kernel's is asked for the difference once. */
function monotonicClock() {
  const { symbols, close } = dlopen('libc.so.6', { clock_gettime: { args: ['i32', 'ptr'], returns: 'i32' } })
  const time = new BigInt64Array(2)
  symbols.clock_gettime(1, time)
  const offset = time[0] * 1_000_000_000n + time[1] - BigInt(Bun.nanoseconds())
  close()
  return () => BigInt(Bun.nanoseconds()) + offset
}
