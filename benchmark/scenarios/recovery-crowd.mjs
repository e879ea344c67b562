/** How long a crowd waits that comes back at once: from the question until the last one has what it missed. */
import { open, replay, untilAll } from '../recovery.mjs'

const recovery = true

export default replay({
  name: 'recovery-crowd',
  title: 'Until 200 clients that ask at once have what they missed',
  unit: 'ms',
  isHigherBetter: false,
  clients: 200,
  valueFrom: untilAll,
  peers: [
    open('wse-16', '16 publications each', { recovery }, { topics: 1, each: 16 }),
    open('wse-256', '256 publications each', { recovery }, { topics: 1, each: 256 }),
    open('wse-50-topics', '50 topics of 20 publications each', { recovery }, { topics: 50, each: 20 }),
  ],
})
