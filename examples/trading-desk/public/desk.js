// The page of the trading desk: fetches its state over HTTP once connected, then follows the live events.
// Where a value stands, and in which form, is said in the HTML by data-field and data-form.
const $ = (id) => document.getElementById(id)
const number = (options) => new Intl.NumberFormat('en-US', { maximumFractionDigits: 2, ...options }).format
const forms = {
  whole: number(),
  money: number({ minimumFractionDigits: 2 }),
  gain: number({ minimumFractionDigits: 2, signDisplay: 'exceptZero' }),
  change: number({ minimumFractionDigits: 2, signDisplay: 'exceptZero', style: 'percent' }),
  time: (at) => new Date(at).toLocaleTimeString('en-GB'),
}
let desk = { logSeq: Infinity, row: Infinity } // As in GET /api/state. Until that has come, nothing counts as news.
let [socket, attempts, received, pingedAt] = [undefined, 0, 0, 0]
function connect() {
  let turn = Promise.resolve() // One message after the other: those behind desk_ready wait for the state.
  socket = new WebSocket(`${location.origin.replace('http', 'ws')}/wse`)
  socket.onmessage = ({ data }) => {
    turn = turn.then(() => receive(JSON.parse(data)))
  }
  socket.onclose = ({ code }) => {
    Object.assign(document.body.dataset, code === 4401 ? { view: 'login' } : { link: 'down' })
    write(document, { link: code === 4403 ? 'Open elsewhere' : 'Reconnecting', latency: undefined, rate: undefined })
    if (code !== 4401 && code !== 4403) setTimeout(connect, Math.random() * Math.min(500 * 2 ** attempts++, 8_000))
  }
}
window.onunhandledrejection = () => socket.close() // What could not be applied leaves doubts: fetch the state again.
async function receive({ t, p }) {
  received += 1
  if (p.logSeq <= desk.logSeq || p.row <= desk.row) return // The state has it already, or will.
  await handlers[t]?.(p)
  if (desk.userId) requestAnimationFrame(render)
}
const handlers = {
  async desk_ready() {
    desk = await call('GET', 'state')
    attempts = 0
    Object.assign(document.body.dataset, { view: 'desk', link: 'up' })
    write(document, { link: 'Live', userId: desk.userId })
  },
  PONG: () => write(document, { latency: performance.now() - pingedAt }),
  gap: ({ reason }) => Promise.reject(new Error(`messages were dropped: ${reason}`)),
  error: ({ message }) => desk.userId && toast({ status: 'refused', text: message }),
  order_update: changeOrder,
  order_filled: changeOrder,
  order_cancelled: changeOrder,
  position_update: (position) => Object.assign(desk.positions, { [position.symbol]: position }),
  market_data_update: ({ symbol, date, price }) => desk.prices[symbol].push([date, price]),
  market_replay_restarted({ date }) {
    for (const symbol in desk.prices) desk.prices[symbol] = []
    toast({ status: 'replay', text: `All rows were played. They start again on ${date}.` })
  },
}
function changeOrder(change) {
  const order = { ...desk.orders[change.orderId], ...change }
  desk.orders[order.orderId] = order
  desk.cash = change.cash ?? desk.cash
  if (order.status !== 'open') toast(order)
}
const toast = (values) => entry('toasts', Math.random(), values)
async function call(method, path, body) {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(`/api/${path}`, { method, headers, body: JSON.stringify(body) })
  if (!response.ok) throw new Error((await response.json()).error)
  return response.json()
}
/** Writes values into the parts of `root` that carry their names; their first characters are for the style sheet. */
function write(root, values) {
  for (const part of root.querySelectorAll('[data-field]')) {
    const { field, form, flash } = part.dataset
    const text = String(forms[form]?.(values[field]) ?? values[field] ?? '–').replace(/^NaN.*/, '–')
    if (!(field in values) || part.textContent === text) continue
    if (flash && part.textContent) part.animate({ backgroundColor: ['var(--flash)', 'transparent'] }, 900)
    part.textContent = text
    part.dataset.sign = text[0]
  }
}
/** Writes one entry of a list, made from the list's template when its key is new. */
function entry(list, key, values) {
  const { content, dataset } = $(`${list}-item`)
  const found = $(list).querySelector(`[data-key="${key}"]`)
  const item = found ?? $(list).insertAdjacentElement(dataset.at, content.firstElementChild.cloneNode(true))
  Object.assign(item.dataset, { key, status: values.status })
  write(item, values)
  return item
}
function render() {
  const { prices, cash } = desk
  const { symbol: chosen = 'AAPL', quantity: wanted } = Object.fromEntries(new FormData($('order')))
  const last = (symbol, back = 1) => prices[symbol].at(-back)?.[1]
  for (const [symbol, name] of Object.entries(desk.instruments)) {
    const quote = { symbol, name, price: last(symbol), change: last(symbol) / last(symbol, 2) - 1 }
    const item = entry('watch', symbol, quote)
    Object.assign(item.control, { value: symbol, checked: symbol === chosen })
    item.querySelector('path').setAttribute('d', curve(prices[symbol].slice(-40)).path)
    if (symbol === chosen) write($('chart'), quote)
  }
  let [worth, cost] = [0, 0]
  for (const { symbol, quantity, averagePrice } of Object.values(desk.positions)) {
    const price = last(symbol) ?? averagePrice
    const [value, profit] = [price * quantity, (price - averagePrice) * quantity]
    entry('positions', symbol, { symbol, quantity, averagePrice, price, value, profit })
    worth += value
    cost += value - profit
  }
  for (const order of Object.values(desk.orders)) entry('orders', order.orderId, order)
  write(document, { cash, equity: cash + worth, open: worth - cost, realised: cash + cost - desk.openingCash })
  write(document, { date: prices.SP500.at(-1)?.[0], estimate: wanted * last(chosen) })
  draw(prices[chosen].slice(-$('ranges').elements.rows.value))
}
/** A line through rows of [date, price] in a box of 100 by 100 whose height is five steps of a round size. */
function curve(rows) {
  const prices = rows.map(([, price]) => price)
  const [low, high] = [Math.min(...prices), Math.max(...prices)]
  const unit = 10 ** Math.floor(Math.log10((high - low) / 4 || 1))
  const step = Math.ceil((high - low) / 4 / unit || 1) * unit
  const bottom = Math.floor(low / step) * step
  const points = prices.map((price, index) => [(index * 100) / (rows.length - 1), 100 - ((price - bottom) * 20) / step])
  return { bottom, step, last: points.at(-1), path: rows.length > 1 ? `M${points.join('L')}` : '' }
}
function draw(rows) {
  const { bottom, step, last, path } = curve(rows)
  $('dot').setAttribute('d', path && `M${last}h0`)
  $('line').setAttribute('d', path && `${path}H101V102H-1Z`) // Closed out of sight, to be filled.
  for (const part of [0, 1, 2, 3, 4, 5]) {
    write($('levels'), { [part]: bottom + part * step })
    write($('dates'), { [part]: rows[Math.round((part / 5) * (rows.length - 1))]?.[0].slice(0, 7) })
  }
  $('plot').onpointermove = ({ offsetX }) => {
    const row = rows[Math.round((offsetX / $('plot').clientWidth) * (rows.length - 1))]
    write($('plot'), { hover: row?.join('   ') })
    $('plot').style.setProperty('--hover', `${offsetX}px`)
  }
}
setInterval(() => {
  if (document.body.dataset.link !== 'up') return
  write(document, { rate: received })
  ;[received, pingedAt] = [0, performance.now()]
  socket.send(JSON.stringify({ t: 'ping', p: { timestamp: Date.now() } }))
}, 1_000)
$('desk').oninput = render
$('toasts').onanimationend = ({ target }) => target.remove()
$('orders').onclick = ({ target }) => {
  if (target.value) call('DELETE', `orders/${target.closest('tr').dataset.key}`).catch(handlers.error)
}
$('order').onsubmit = (event) => {
  event.preventDefault()
  call('POST', 'orders', Object.fromEntries(new FormData(event.target, event.submitter))).catch(handlers.error)
}
connect()
