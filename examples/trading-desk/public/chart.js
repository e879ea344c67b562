// The chart of the chosen symbol, and the small lines of the watch list. Draws SVG paths; knows only rows and prices.
import { $, write } from './page.js'

const LEVELS = [0, 1, 2, 3, 4, 5]

/** A line through rows of [row, date, price] in a box of 100 by 100 whose height is five steps of a round size. */
export function curve(rows) {
  const prices = rows.map(([, , price]) => price)
  const [low, high] = [Math.min(...prices), Math.max(...prices)]
  const unit = 10 ** Math.floor(Math.log10((high - low) / 4 || 1))
  const step = Math.ceil((high - low) / 4 / unit || 1) * unit
  const bottom = Math.floor(low / step) * step
  const y = (price) => 100 - ((price - bottom) * 20) / step
  const points = prices.map(
    (price, index) => `${((index * 100) / (rows.length - 1)).toFixed(2)},${y(price).toFixed(2)}`,
  )
  return { bottom, step, y, last: points.at(-1), path: rows.length > 1 ? `M${points.join('L')}` : '' }
}

/** Draws the prices of the last `years`, and a line at the limit of each open order. */
export function drawChart(prices, years, orders) {
  const [, end] = prices.at(-1) ?? []
  const begin = end && `${Number(end.slice(0, 4)) - years}${end.slice(4)}`
  const rows = prices.filter(([, date]) => date >= begin)
  const { bottom, step, y, last, path } = curve(rows)
  $('dot').setAttribute('d', path && `M${last}h0`)
  $('line').setAttribute('d', path && `${path}H101V102H-1Z`) // Closed out of sight, to be filled.
  for (const side of ['buy', 'sell']) {
    const levels = orders.filter((order) => order.side === side && order.limitPrice !== null)
    $(`${side}-limits`).setAttribute('d', levels.map(({ limitPrice }) => `M0,${y(limitPrice)}H100`).join(''))
  }
  for (const part of LEVELS) {
    write($('levels'), { [part]: bottom + part * step })
    write($('dates'), { [part]: rows[Math.round((part / 5) * (rows.length - 1))]?.[1].slice(0, 7) })
  }
  $('plot').onpointermove = ({ offsetX }) => {
    const [, date, price] = rows[Math.round((offsetX / $('plot').clientWidth) * (rows.length - 1))] ?? []
    write($('plot'), { hoverDate: date, hoverPrice: price })
    $('plot').style.setProperty('--hover', `${offsetX}px`)
  }
}
