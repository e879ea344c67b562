/** What a subscription weighs: of topics that all clients hold, and of topics that one client holds alone. */
import { setTimeout as pause } from 'node:timers/promises'
import { open, request } from '../recovery.mjs'

const CONNECTIONS = 1000
const TOPICS = 100
const SETTLE_MS = 500

export default {
  name: 'subscription-memory',
  title: 'One of 100 subscriptions on each of 1 000 connections',
  unit: 'bytes',
  isHigherBetter: false,
  peers: [
    open('wse-shared', 'topics that all hold', {}, { topic: 'shared' }),
    open('wse-own', 'topics of one connection each', {}, { topic: 'own-{i}' }),
    open('wse-own-logged', 'topics of one connection each, recovery', { recovery: true }, { topic: 'own-{i}' }),
  ],
  async run(session) {
    await session.listen()
    await session.connect(CONNECTIONS)
    // One each first, so that what a connection and the code need anyway does not count.
    await session.say(request('subscribe', [`${session.peer.topic}-first`]), CONNECTIONS)
    const before = await session.memory()
    const topics = Array.from({ length: TOPICS }, (_, number) => `${session.peer.topic}-${number}`)
    await session.say(request('subscribe', topics), CONNECTIONS)
    await pause(SETTLE_MS)
    const after = await session.memory()
    return {
      value: (after.bytes - before.bytes) / (CONNECTIONS * TOPICS),
      heapMb: (after.heapBytes - before.heapBytes) / 1e6,
    }
  },
}
