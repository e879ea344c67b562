/**
 * What an examination finds, one finding for each step.
 *
 * @module
 */

/** The steps, in their order. */
export type Step = 'name' | 'tcp' | 'tls' | 'http' | 'clock' | 'token' | 'upgrade' | 'greeting' | 'frames' | 'idle'

export interface Finding {
  readonly step: Step
  /** `skip`: there was nothing to look at. */
  readonly status: 'ok' | 'warn' | 'fail' | 'skip'
  readonly text: string
  /** What usually leads to it, and what helps. */
  readonly cause?: string | undefined
}

/** Findings as they are made, and at the end what the steps behind need. Null: there is no point in going on. */
export type Examination<T> = AsyncGenerator<Finding, T | null>

/** A time since `start`, as a text. */
export const since = (start: number): string => `${Math.round(performance.now() - start)} ms`

/** The code of a fault of the system, or what it says. */
export function codeOf(cause: unknown): string {
  const { code, message } = cause as NodeJS.ErrnoException
  return code ?? message
}
