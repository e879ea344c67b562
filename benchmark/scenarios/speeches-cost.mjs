/**
 * What a publication of 2 KiB costs when one connection alone takes it: the difference to JSON is what encoding it in
 * that way costs, because nobody shares it. The column of CPU is the one to read.
 */
import { fanOut } from '../fan-out.mjs'
import { QUOTES_BYTES, single } from '../speeches.mjs'

export default fanOut({
  name: 'speeches-cost',
  title: 'A publication of 2 KiB to one connection, sixteen a turn',
  subscribers: 1,
  perTurn: 16,
  bytes: QUOTES_BYTES,
  kind: 'quotes',
  peers: single,
})
