// Engines in a worker thread: on a port of its own, on a host, and on a host by streams. The main thread has none;
// it starts and terminates the worker when it is told to, and says how many descriptors the process has.
import { readdirSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { startEngines } from './engines.mjs'

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
    if (line === 'terminate') say({ code: await worker.terminate() })
    if (line === 'count') say({ descriptors: readdirSync('/proc/self/fd').length })
    if (line === 'stop') process.exit()
  })
}

async function serve() {
  const { engines, ports } = await startEngines()
  parentPort.postMessage({ ports })
  const echo = async (wse) => {
    for await (const batch of wse.drain()) {
      for (const event of batch) if (event.type === 'msg') wse.sendEvent(event.connId, event.data)
    }
  }
  await Promise.all(engines.map(echo))
}
