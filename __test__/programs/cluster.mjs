// A cluster of two workers. Arguments: the scheduling, and how the workers serve: `attach`, `listen` with a port.
// Each worker says which one it is to whoever asks, and publishes what it is told to.
import cluster from 'node:cluster'
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import { WseServer } from 'wse-server'

const [, , scheduling, entrance, ownPort] = process.argv
if (cluster.isPrimary) lead()
else await serve()

function lead() {
  cluster.schedulingPolicy = scheduling === 'none' ? cluster.SCHED_NONE : cluster.SCHED_RR
  const workers = [cluster.fork(), cluster.fork()]
  cluster.on('message', (worker, message) => console.log(JSON.stringify({ worker: worker.id, ...message })))
  createInterface({ input: process.stdin }).on('line', (line) => {
    if (line === 'kill') workers[0].process.kill('SIGKILL')
    if (line === 'stop') for (const worker of workers) if (worker.isConnected()) worker.send('stop')
  })
  // Only from here on does the primary give a lost worker no connections.
  cluster.on('disconnect', (worker) => console.log(JSON.stringify({ lost: worker.id })))
  cluster.on('exit', () => {
    if (workers.every((worker) => worker.isDead())) process.exit()
  })
}

async function serve() {
  const wse = new WseServer()
  const http = createServer((_, response) => response.end('host'))
  process.on('message', async () => {
    http.close()
    await wse.close()
    process.disconnect()
  })
  if (entrance === 'attach') {
    wse.attach(http)
    http.listen(0, '127.0.0.1', () => process.send({ port: http.address().port }))
  } else {
    await wse.listen({ host: '127.0.0.1', port: Number(ownPort) }).then(
      (address) => process.send(address),
      (error) => process.send({ code: error.code }),
    )
  }
  for await (const batch of wse.drain()) {
    for (const event of batch) {
      if (event.type === 'connect') wse.subscribeConnection(event.connId, ['news'])
      if (event.type !== 'msg') continue
      if (event.data.t === 'publish') wse.broadcast('news', { t: 'news', p: event.data.p })
      wse.sendEvent(event.connId, { t: 'done', p: { ...event.data.p, worker: cluster.worker.id } })
    }
  }
}
