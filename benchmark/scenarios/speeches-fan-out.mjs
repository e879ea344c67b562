/**
 * One publication of 2 KiB to 1 000 connections that all speak in one way, or in five: it is encoded once for each
 * way, so mixing them should cost no more than what the ways themselves cost.
 */
import { fanOut } from '../fan-out.mjs'
import { mixed, QUOTES_BYTES, single } from '../speeches.mjs'

export default fanOut({
  name: 'speeches-fan-out',
  title: 'Fan-out of 2 KiB to 1 000 that speak in one way or in five',
  subscribers: 1000,
  perTurn: 1,
  bytes: QUOTES_BYTES,
  kind: 'quotes',
  peers: [...single, mixed],
})
