// An engine in a worker thread, on a port of its own and on a host. The main thread has none; it starts and
// terminates the worker when it is told to, and says how many descriptors the process has.
import { readdirSync } from 'node:fs'
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { WseServer } from 'wse-server'

if (isMainThread) lead()
else await serve()

function lead() {
  let worker
  const say = (message) => console.log(JSON.stringify(message))
  createInterface({ input: process.stdin }).on('line', async (line) => {
    if (line === 'start') {
      worker = new Worker(new URL(import.meta.url))
      worker.on('message', say)
    }
    if (line === 'terminate') {
      await worker.terminate()
      say({ descriptors: readdirSync('/proc/self/fd').length })
    }
    if (line === 'stop') process.exit()
  })
}

async function serve() {
  const [own, attached] = [new WseServer(), new WseServer()]
  const http = createServer()
  attached.attach(http)
  await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve))
  const { port } = await own.listen({ host: '127.0.0.1', port: 0 })
  parentPort.postMessage({ ports: [port, http.address().port] })
  const echo = async (wse) => {
    for await (const batch of wse.drain()) {
      for (const event of batch) if (event.type === 'msg') wse.sendEvent(event.connId, event.data)
    }
  }
  await Promise.all([echo(own), echo(attached)])
}
