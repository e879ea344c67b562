/**
 * What the command prints: who reads it, and what may not be in it.
 *
 * Owns how a reader that stops is told from an output that fails. Never what is printed.
 *
 * @module
 */

/** Control characters, which a terminal obeys, and those that turn the direction or the line of what follows. */
const ORDERS = /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu

/** A text of a stranger, fit for a terminal: one line, in which orders are spelt out. In JSON it means the same. */
export const escaped = (text: string): string =>
  text.replaceAll(ORDERS, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)

/** A text as one line of JSON: what is JSON keeps its bytes, all but the breaks between its parts and its orders. */
export function lineOf(text: string): string {
  try {
    JSON.parse(text)
    return escaped(text.replaceAll(/[\t\r\n]+/g, ' '))
  } catch {
    // Any other text, as a string.
    return escaped(JSON.stringify(text))
  }
}

/**
 * Stays with an output that ends early. Whoever reads may stop before the end, as `head` does: the work goes on, and
 * its exit code counts. An output that cannot be written, on a full disk for instance, ends the command with 1.
 */
export function guardOutput(): void {
  process.stdout.on('error', (cause: NodeJS.ErrnoException) => {
    if (cause.code === 'EPIPE') return
    console.error(`wse-server: cannot write: ${cause.message}`)
    process.exit(1)
  })
}
