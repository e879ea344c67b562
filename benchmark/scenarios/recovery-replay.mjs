/** What was missed, sent again as fast as clients take it that are thousands of publications behind. */
import { open, rate, replay } from '../recovery.mjs'

const recovery = { slots: 4_096 }

export default replay({
  name: 'recovery-replay',
  title: 'Publications sent again to 200 clients that missed 4 096 each',
  unit: 'publications/s',
  isHigherBetter: true,
  clients: 200,
  valueFrom: rate,
  peers: [
    open('wse-one-topic', 'of one topic', { recovery }, { topics: 1, each: 4_096 }),
    open('wse-16-topics', 'of 16 topics', { recovery }, { topics: 16, each: 256 }),
  ],
})
