// Entries that carry a growing number, each once and in order, from wherever and however often they come: this is what
// joins history fetched over HTTP to live events from the socket without a gap or a double.
export class Ledger {
  entries = []
  #numbers = new Set()
  #numberOf

  constructor(numberOf, entries = []) {
    this.#numberOf = numberOf
    this.add(entries)
  }

  /** The highest number; -1 while there is none. */
  get last() {
    return this.entries.length === 0 ? -1 : this.#numberOf(this.entries.at(-1))
  }

  /** Takes what it does not have yet and returns how many entries that were. */
  add(entries) {
    const before = this.entries.length
    const last = this.last
    for (const entry of entries) {
      const number = this.#numberOf(entry)
      if (this.#numbers.has(number)) continue
      this.#numbers.add(number)
      this.entries.push(entry)
    }
    const news = this.entries.slice(before)
    if (news.some((entry) => this.#numberOf(entry) < last)) {
      this.entries.sort((a, b) => this.#numberOf(a) - this.#numberOf(b))
    }
    return news.length
  }

  /** Lets go of everything numbered below `first`. */
  dropBefore(first) {
    this.entries = this.entries.filter((entry) => this.#numberOf(entry) >= first)
    this.#numbers = new Set(this.entries.map(this.#numberOf))
  }
}
