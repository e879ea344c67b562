// Writes values into the page. Where a value stands, and in which form, is said in the HTML by data-field and data-form.
export const $ = (id) => document.getElementById(id)

const number = (options) => new Intl.NumberFormat('en-US', { maximumFractionDigits: 2, ...options }).format
const STATUS = { working: 'Working', partial: 'Partly filled', filled: 'Filled', cancelled: 'Cancelled' }
const forms = {
  whole: number(),
  money: number({ minimumFractionDigits: 2 }),
  gain: number({ minimumFractionDigits: 2, signDisplay: 'exceptZero' }),
  change: number({ minimumFractionDigits: 2, signDisplay: 'exceptZero', style: 'percent' }),
  status: (status) => STATUS[status] ?? status,
  time: (at) => new Date(at).toLocaleTimeString('en-GB'),
}

/** Writes values into the parts of `root` that carry their names; their first characters are for the style sheet. */
export function write(root, values) {
  for (const part of root.querySelectorAll('[data-field]')) {
    const { field, form, flash } = part.dataset
    if (!(field in values)) continue
    const value = values[field]
    const text =
      value === undefined || value === null || Number.isNaN(value) ? '–' : String(forms[form]?.(value) ?? value)
    if (part.textContent === text) continue
    if (flash && part.textContent) part.animate({ backgroundColor: ['var(--flash)', 'transparent'] }, 900)
    part.textContent = text
    part.dataset.sign = text[0]
  }
}

/** Writes one entry of a list, made from the list's template when its key is new. */
export function entry(list, key, values, template = list) {
  const found = $(list).querySelector(`[data-key="${key}"]`)
  const item = found ?? $(list).appendChild($(`${template}-item`).content.firstElementChild.cloneNode(true))
  Object.assign(item.dataset, { key, status: values.status, side: values.side })
  write(item, values)
  return item
}

/**
 * Makes a list show exactly these values, in this order. An item stays the same element for as long as its key stays,
 * and moves only when it must, so that neither the focus nor a half-done click is lost.
 */
export function fill(list, keyed, template = list) {
  const keys = new Set(keyed.map(([key]) => String(key)))
  for (const item of [...$(list).children]) if (!keys.has(item.dataset.key)) item.remove()
  keyed.forEach(([key, values], index) => {
    const item = entry(list, key, values, template)
    const there = $(list).children[index]
    if (there !== item) $(list).insertBefore(item, there)
  })
}

/** A line that goes by itself: a text, or what has become of an order. */
export function toast({ status, side, symbol, quantity, price, reason, text = reason }) {
  const item = entry('toasts', crypto.randomUUID(), { status, side, quantity, symbol })
  item.querySelector('.what').hidden = symbol === undefined
  write(item, { text: text ?? (price === undefined ? '' : `at ${forms.money(price)}`) })
}
