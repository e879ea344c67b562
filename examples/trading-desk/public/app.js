// The page of the trading desk: joins the connection, what is known, and the panels; takes what the person does.
import { call, Desk } from './desk.js'
import { Link } from './link.js'
import { $, toast, write } from './page.js'
import { drawAll, drawTicket } from './views.js'

const desk = new Desk(toast)
const link = new Link(receive, showLink)
const fault = ({ message }) => toast({ status: 'refused', text: message })
let chosen = location.hash.slice(1)

/** Messages behind `desk_ready` and behind a gap wait until the page has fetched what it missed. */
async function receive(message) {
  if (message.t === 'desk_ready' || message.t === 'gap') {
    const missed = await desk.catchUp()
    if (!desk.instruments.has(chosen)) await choose('AAPL')
    else if (desk.chart.symbol === undefined) await choose(chosen)
    showCaughtUp(missed)
    link.settle()
  } else if (link.state === 'connected') {
    // What comes before `desk_ready` is in the state that is fetched then; applied now, it would hide what was missed.
    desk.apply(message)
  }
  draw()
}

let isDrawing = false

/** Draws with the next frame, once for everything that has happened until then. */
function draw() {
  if (isDrawing || desk.id === undefined || desk.chart.symbol === undefined) return
  isDrawing = true
  requestAnimationFrame(() => {
    isDrawing = false
    drawAll(desk, chosen)
  })
}

async function choose(symbol) {
  chosen = symbol
  history.replaceState(null, '', `#${symbol}`)
  $('ticket').elements.limitPrice.value = ''
  const whole = desk.choose(symbol)
  draw()
  await whole
  draw()
}

const WORDS = {
  connecting: 'Connecting',
  connected: 'Connected',
  reconnecting: 'Reconnecting',
  offline: 'Offline',
  elsewhere: 'Open elsewhere',
  'signed-out': 'Signed out',
}

/** What the banner says, in the states that have one. */
const NEWS = {
  reconnecting: (attempt) => `The connection was lost. Reconnecting${attempt > 0 ? `, attempt ${attempt}` : ''}.`,
  offline: () => 'You are offline. Prices and orders are as of the last connection.',
  elsewhere: () => 'You have opened the desk in newer tabs. This one no longer follows.',
}

/** Told each second too, for the countdown and the figures. */
function showLink({ state, attempt, retryAt, latencyMs, rate }) {
  const { dataset } = document.body
  dataset.view = state === 'signed-out' ? 'login' : desk.id === undefined ? 'opening' : 'desk'
  dataset.link = state
  const up = state === 'connected'
  write($('figures'), { latency: up ? latencyMs : undefined, rate: up ? rate : undefined })
  write($('head'), { link: WORDS[state] })
  $('banner').hidden = NEWS[state] === undefined
  if (!up) $('caught-up').hidden = true
  const seconds = retryAt && Math.max(1, Math.round((retryAt - Date.now()) / 1000))
  write($('banner'), {
    news: NEWS[state]?.(attempt) ?? '',
    countdown: seconds ? `Next try in ${seconds} s` : '',
  })
  for (const button of document.querySelectorAll('#ticket button, [value=cancel]')) button.disabled = !up
}

let caughtUpTimer

function showCaughtUp({ prices, trades }) {
  if (desk.id === undefined || document.body.dataset.link === 'connecting') return
  const many = (count, noun) => `${count} ${noun}${count === 1 ? '' : 's'}`
  write($('caught-up'), {
    text: `Connected again. Caught up with ${many(prices, 'price')} and ${many(trades, 'trade')}.`,
  })
  $('caught-up').hidden = false
  clearTimeout(caughtUpTimer)
  caughtUpTimer = setTimeout(() => {
    $('caught-up').hidden = true
  }, 6_000)
}

$('retry').onclick = () => link.connect()
$('search').oninput = draw
$('search').onkeydown = (event) => {
  const match = $('watch').querySelector('label:not([hidden])')
  if (event.key === 'Enter' && match) match.control.click()
  if (event.key === 'Escape') event.target.value = ''
  draw()
}
addEventListener('keydown', (event) => {
  if (event.key !== '/' || event.target.matches('input')) return
  event.preventDefault()
  $('search').focus()
})
$('watch').onchange = ({ target }) => choose(target.value).catch(fault)
$('ranges').onchange = draw
$('ticket').oninput = () => drawTicket(desk.lastPrice(chosen))
$('ticket').onsubmit = (event) => {
  event.preventDefault()
  call('POST', 'orders', Object.fromEntries(new FormData(event.target, event.submitter))).catch(fault)
}
for (const list of ['book', 'orders']) {
  $(list).onclick = ({ target }) => {
    if (target.value === 'cancel') call('DELETE', `orders/${target.closest('[data-key]').dataset.key}`).catch(fault)
  }
}
$('older').onclick = () => desk.olderTrades().then(draw, fault)
$('toasts').onanimationend = ({ target }) => target.remove()
for (const tab of document.querySelectorAll('[role=tab]')) {
  tab.onclick = () => {
    for (const other of document.querySelectorAll('[role=tab]')) {
      other.ariaSelected = String(other === tab)
      $(other.getAttribute('aria-controls')).hidden = other !== tab
    }
  }
}

showLink(link)
// Without a session there is nothing to connect with: the desk could only refuse.
call('GET', 'session').then(
  () => link.connect(),
  ({ status }) => (status === 401 ? link.signOut() : link.connect()),
)
