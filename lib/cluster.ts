/**
 * What a worker of `node:cluster` is told. Takes no part in dealing out its sockets.
 *
 * @module
 */
import cluster from 'node:cluster'

let isTold = false

/** Warns, once, that what this process publishes reaches only its own connections. */
export function warnInCluster(): void {
  if (!cluster.isWorker || isTold) return
  isTold = true
  const text = 'a broadcast reaches the connections of this cluster worker only: the bus in memory ends at the process'
  process.emitWarning(text, { type: 'WseClusterWarning' })
}
