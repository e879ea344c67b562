/**
 * What timers of JavaScript can do.
 *
 * @module
 */

/** The longest time that a timer takes, in milliseconds: one that is set for longer ends at once. */
export const LONGEST_MS = 2 ** 31 - 1
