/**
 * How far behind a server is whose sockets tell their buffered bytes.
 *
 * Looks at a few sockets a turn, each time at others: asking all of them would be work that the
 * benchmark adds. Never decides what waiting means; that is the sender's part.
 */

/** Sockets looked at in a turn. */
const SAMPLE = 16
/** Bytes that one socket may keep in the process before the sender waits: 64 messages of 128 bytes. */
const MAX_BYTES = 64 * 132

export class Backlog {
  #sockets
  #buffered
  #round = null

  /** `buffered(socket)`: bytes of it that the kernel has not taken. */
  constructor(sockets, buffered) {
    this.#sockets = sockets
    this.#buffered = buffered
  }

  /** 1 and more: the server is so far behind that a sender should wait. */
  turns() {
    let longest = 0
    for (let looked = 0; looked < SAMPLE; looked++) {
      const next = this.#round?.next()
      if (!next || next.done) {
        this.#round = this.#sockets.values()
        continue
      }
      longest = Math.max(longest, this.#buffered(next.value))
    }
    return longest / MAX_BYTES
  }
}
