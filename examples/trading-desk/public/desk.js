// What the page knows of the desk: the state as fetched over HTTP, and the live events on top of it. Draws nothing.
import { Ledger } from './ledger.js'

/** Asks the API; rejects with an error that carries the status, 0 without an answer, and a message for the person. */
export async function call(method, path, body) {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(`/api/${path}`, { method, headers, body: JSON.stringify(body) }).catch(() => undefined)
  if (response?.ok) return response.json()
  const { error = 'The desk cannot be reached.' } = (await response?.json().catch(() => undefined)) ?? {}
  throw Object.assign(new Error(error), { status: response?.status ?? 0 })
}

export const isOpen = ({ status }) => status === 'working' || status === 'partial'

const TRADES_PER_PAGE = 100
const FINISHED_ORDERS = 50
const priceLedger = (prices) => new Ledger(([row]) => row, prices)

export class Desk {
  id
  userId
  openingCash = 0
  cash = 0
  /** Symbol → { symbol, name, prices }, with the newest prices as [row, date, price]. */
  instruments = new Map()
  orders = new Map()
  positions = new Map()
  trades = new Ledger(({ tradeId }) => tradeId)
  hasOlderTrades = false
  /** The series of the chosen symbol; `whole` once its history has come. */
  chart = { symbol: undefined, prices: priceLedger(), whole: false }
  #seq = Infinity
  #row = Infinity
  #tell

  /** `tell` gets what deserves a notice: `{ status, text }` or an order. */
  constructor(tell) {
    this.#tell = tell
  }

  /** Fetches what was missed, everything the first time, and returns how many prices and trades that were. */
  async catchUp() {
    const state = await call('GET', 'state')
    if (state.desk !== this.id || state.userId !== this.userId) this.#forget()
    const isFirst = this.id === undefined
    const missed = { prices: isFirst ? 0 : state.row - this.#row, trades: 0 }
    Object.assign(this, { id: state.desk, userId: state.userId, cash: state.cash, openingCash: state.openingCash })
    this.#seq = state.seq
    this.#row = state.row
    this.instruments = new Map(
      state.instruments.map((one) => [one.symbol, { ...one, prices: priceLedger(one.prices) }]),
    )
    this.orders = new Map(state.orders.map((order) => [order.orderId, order]))
    this.positions = new Map(state.positions.map((position) => [position.symbol, position]))
    this.chart.prices.dropBefore(state.firstRow)
    const [trades] = await Promise.all([this.#missedTrades(), this.#completeChart()])
    if (!isFirst) missed.trades = trades
    return missed
  }

  /** Applies a live event, unless the state has it already. */
  apply({ t, p = {} }) {
    if (p.seq <= this.#seq || p.row <= this.#row) return
    this.#seq = p.seq ?? this.#seq
    this.#row = p.row ?? this.#row
    this.#events[t]?.(p)
  }

  /** Shows another symbol in the chart: what is known at once, all of it when it has come. */
  async choose(symbol) {
    const prices = priceLedger(this.instruments.get(symbol)?.prices.entries)
    this.chart = { symbol, prices, whole: false }
    await this.#completeChart()
  }

  async olderTrades() {
    const [oldest] = this.trades.entries
    const older = await call('GET', `trades?before=${oldest.tradeId}`)
    this.hasOlderTrades = older.length === TRADES_PER_PAGE
    this.trades.add(older)
  }

  lastPrice(symbol, back = 1) {
    return this.instruments.get(symbol)?.prices.entries.at(-back)?.[2]
  }

  #events = {
    order_update: (p) => this.#changeOrder(p),
    order_filled: (p) => this.#changeOrder(p),
    order_cancelled: (p) => this.#changeOrder(p),
    position_update: (p) => {
      if (p.quantity === 0) this.positions.delete(p.symbol)
      else this.positions.set(p.symbol, p)
    },
    market_data_update: ({ row, symbol, date, price }) => {
      this.instruments.get(symbol).prices.add([[row, date, price]])
      if (symbol === this.chart.symbol) this.chart.prices.add([[row, date, price]])
    },
    error: ({ message }) => this.#tell({ status: 'refused', text: message }),
    // The row that begins the round follows, under the same number.
    market_replay_restarted: ({ row, date }) => {
      this.#row = row - 1
      for (const { prices } of this.instruments.values()) prices.dropBefore(row)
      this.chart.prices.dropBefore(row)
      this.#tell({ status: 'replay', text: `All rows were played. They start again on ${date}.` })
    },
  }

  #changeOrder({ trade, cash, ...order }) {
    this.orders.set(order.orderId, order)
    this.cash = cash ?? this.cash
    if (trade !== undefined) this.trades.add([trade])
    if (isOpen(order)) return
    this.#tell({ ...order, price: trade?.price })
    const finished = [...this.orders.values()].filter((other) => !isOpen(other))
    if (finished.length > FINISHED_ORDERS) this.orders.delete(finished[0].orderId)
  }

  async #missedTrades() {
    if (this.trades.last === -1) {
      const newest = await call('GET', 'trades')
      this.hasOlderTrades = newest.length === TRADES_PER_PAGE
      return this.trades.add(newest)
    }
    let missed = 0
    for (let page = TRADES_PER_PAGE; page === TRADES_PER_PAGE; ) {
      const next = await call('GET', `trades?after=${this.trades.last}`)
      page = next.length
      missed += this.trades.add(next)
    }
    return missed
  }

  async #completeChart() {
    const chart = this.chart
    if (chart.symbol === undefined) return
    const after = chart.whole ? chart.prices.last : -1
    chart.prices.add(await call('GET', `prices/${chart.symbol}?after=${after}`))
    chart.whole = true
  }

  /** Another database, or another user: nothing of what is known belongs to it. */
  #forget() {
    this.id = undefined
    this.trades = new Ledger(({ tradeId }) => tradeId)
    this.chart = { symbol: this.chart.symbol, prices: priceLedger(), whole: false }
  }
}
