/**
 * What takes long to make and is asked for again and again, kept by the text that it is made of.
 *
 * @module
 */

/** A bounded number of values: when there is a new one too many, the oldest is made again next time. */
export class Recent<T> {
  readonly #make: (text: string) => T
  readonly #most: number
  readonly #values = new Map<string, T>()

  constructor(make: (text: string) => T, most = 16) {
    this.#make = make
    this.#most = most
  }

  /** The value of this text. What `make` throws is not kept. */
  of(text: string): T {
    const known = this.#values.get(text)
    if (known !== undefined) return known
    const value = this.#make(text)
    const [oldest] = this.#values.keys()
    if (oldest !== undefined && this.#values.size >= this.#most) this.#values.delete(oldest)
    this.#values.set(text, value)
    return value
  }
}
