/**
 * Bar charts as SVG, readable on light and dark pages. Knows numbers and labels, no benchmark.
 */
import { figure } from './measure.mjs'

const WIDTH = 720
/** The widest letter that is common, at this size of text. */
const LETTER_WIDTH = 7.7
const VALUE_WIDTH = 110
const BAR_HEIGHT = 22
const ROW_HEIGHT = 34
const TOP = 34

/** A chart of medians, each with a line from the least to the most. */
export function barChart({ title, unit, isHigherBetter }, bars) {
  const labels = LETTER_WIDTH * Math.max(...bars.map(({ label }) => label.length), 0) + 14
  const most = Math.max(...bars.map(({ value }) => value.most), Number.MIN_VALUE)
  const width = (value) => ((WIDTH - labels - VALUE_WIDTH) * value) / most
  const height = TOP + bars.length * ROW_HEIGHT + 6
  const rows = bars.map((bar, index) => row(bar, TOP + index * ROW_HEIGHT, labels, width))
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escaped(title)}">
<style>
text { font: 14px system-ui, sans-serif; fill: #24292f }
.note { font-size: 12px; fill: #57606a }
.bar { fill: #aab4bf }
.ours { fill: #0f7b6c }
.spread { stroke: #24292f; stroke-width: 1.5; opacity: 0.55 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .note { fill: #9198a1 }
  .bar { fill: #59636e }
  .ours { fill: #2fb8a2 }
  .spread { stroke: #e6edf3 }
}
</style>
<text class="note" x="0" y="16">${escaped(unit)}, ${isHigherBetter ? 'more' : 'less'} is better</text>
${rows.join('\n')}
</svg>
`
}

function row({ label, isOurs, value }, y, labels, width) {
  const middle = y + BAR_HEIGHT / 2
  const baseline = middle + 5
  const from = labels + width(value.least)
  const to = labels + width(value.most)
  return [
    `<text x="0" y="${baseline}">${escaped(label)}</text>`,
    `<rect class="bar${isOurs ? ' ours' : ''}" x="${labels.toFixed(1)}" y="${y}" width="${width(value.median).toFixed(1)}" height="${BAR_HEIGHT}" rx="3"/>`,
    `<line class="spread" x1="${from.toFixed(1)}" x2="${to.toFixed(1)}" y1="${middle}" y2="${middle}"/>`,
    `<text x="${(Math.max(to, labels) + 8).toFixed(1)}" y="${baseline}">${figure(value.median)}</text>`,
  ].join('')
}

function escaped(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
}
