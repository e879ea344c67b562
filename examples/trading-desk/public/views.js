// The panels: each function draws one of them from what the desk knows. Changes nothing but the page.
import { curve, drawChart } from './chart.js'
import { isOpen } from './desk.js'
import { $, entry, fill, write } from './page.js'

export function drawAll(desk, symbol) {
  drawWatchList(desk, symbol)
  const quote = { symbol, name: desk.instruments.get(symbol).name, ...change(desk, symbol) }
  write($('chart'), quote)
  const open = [...desk.orders.values()].filter((order) => isOpen(order) && order.symbol === symbol)
  drawChart(desk.chart.prices.entries, Number($('ranges').elements.years.value), open)
  drawBook(open, quote)
  drawAccount(desk)
  drawOrders(desk)
  drawTrades(desk)
  drawTicket(quote.price)
  const dates = [...desk.instruments.values()].map(({ prices }) => prices.entries.at(-1)?.[1] ?? '')
  write(document.querySelector('header'), { date: dates.sort().at(-1), userId: desk.userId })
}

function change(desk, symbol) {
  const [price, before] = [desk.lastPrice(symbol), desk.lastPrice(symbol, 2)]
  return { price, change: price / before - 1 }
}

function drawWatchList(desk, chosen) {
  const wanted = $('search').value.trim().toLowerCase()
  let matches = 0
  for (const { symbol, name, prices } of desk.instruments.values()) {
    const item = entry('watch', symbol, { symbol, name, ...change(desk, symbol) })
    Object.assign(item.control, { value: symbol, checked: symbol === chosen })
    item.hidden = !`${symbol} ${name}`.toLowerCase().includes(wanted)
    item.querySelector('path').setAttribute('d', curve(prices.entries.slice(-40)).path)
    if (!item.hidden) matches += 1
  }
  $('no-match').hidden = matches > 0
}

/** The own open orders as a book: asks above the last price, bids below it, a market order next to it. */
function drawBook(open, { symbol, price }) {
  const bestFirst = (side, sign) => {
    const rank = ({ limitPrice }) => (limitPrice === null ? -Infinity : sign * limitPrice)
    return open.filter((order) => order.side === side).sort((a, b) => rank(a) - rank(b) || a.orderId - b.orderId)
  }
  fillBook('asks', bestFirst('sell', 1).reverse()) // The best ask stands lowest, next to the last price.
  fillBook('bids', bestFirst('buy', -1))
  write($('book'), { symbol, price })
  $('book').classList.toggle('none', open.length === 0)
}

function fillBook(list, orders) {
  fill(
    list,
    orders.map((order) => [order.orderId, { ...order, limit: limit(order) }]),
    'book',
  )
  for (const { orderId, filled, quantity, side } of orders) {
    const item = $(list).querySelector(`[data-key="${orderId}"]`)
    item.style.setProperty('--filled', `${(filled / quantity) * 100}%`)
    item.querySelector('button').ariaLabel = `Cancel order ${orderId}, ${side} ${quantity}`
  }
}

const limit = ({ limitPrice }) => limitPrice?.toFixed(2) ?? 'Market'

function drawAccount(desk) {
  let [worth, cost] = [0, 0]
  const lines = [...desk.positions.values()].map(({ symbol, quantity, averagePrice }) => {
    const price = desk.lastPrice(symbol) ?? averagePrice
    const [value, profit] = [price * quantity, (price - averagePrice) * quantity]
    worth += value
    cost += value - profit
    return [symbol, { symbol, quantity, averagePrice, price, value, profit }]
  })
  fill('positions', lines)
  const { cash, openingCash } = desk
  write($('account'), { cash, equity: cash + worth, open: worth - cost, realised: cash + cost - openingCash })
}

function drawOrders(desk) {
  const newestFirst = [...desk.orders.values()].sort((a, b) => b.orderId - a.orderId)
  fill(
    'orders',
    newestFirst.map((order) => [order.orderId, { ...order, limit: limit(order) }]),
  )
}

/** A trade never changes: the same number of them is the same list. */
function drawTrades({ trades, hasOlderTrades }) {
  $('older').hidden = !hasOlderTrades
  if ($('trades').children.length === trades.entries.length && $('trades').dataset.last === String(trades.last)) return
  $('trades').dataset.last = trades.last
  fill(
    'trades',
    trades.entries.toReversed().map((trade) => [trade.tradeId, trade]),
  )
}

export function drawTicket(lastPrice) {
  const { kind, quantity, limitPrice } = $('ticket').elements
  const isLimit = kind.value === 'limit'
  limitPrice.disabled = !isLimit
  if (!isLimit) limitPrice.value = ''
  else if (limitPrice.value === '' && document.activeElement !== limitPrice)
    limitPrice.value = lastPrice?.toFixed(2) ?? ''
  write($('ticket'), { estimate: quantity.value * (isLimit ? limitPrice.value : lastPrice) })
}
