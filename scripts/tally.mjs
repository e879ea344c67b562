// Counts of tests over several runners and languages, read from what each runner prints at its end.

/** What was counted so far. */
export class Tally {
  passed = 0
  failed = 0
  skipped = 0

  add({ passed = 0, failed = 0, skipped = 0 }) {
    this.passed += passed
    this.failed += failed
    this.skipped += skipped
  }

  /** One counted test that is not a runner's: a step that succeeded or did not. */
  addStep(succeeded) {
    this.add(succeeded ? { passed: 1 } : { failed: 1 })
  }

  toString() {
    return `${this.passed} passed, ${this.failed} failed, ${this.skipped} skipped`
  }
}

/** Counts of `cargo test`: the sum of its `test result:` lines. */
export function countCargo({ code, lines }) {
  const counts = { passed: 0, failed: 0, skipped: 0 }
  for (const line of lines) {
    const result = /^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/.exec(line)
    if (!result) continue
    counts.passed += Number(result[1])
    counts.failed += Number(result[2])
    counts.skipped += Number(result[3])
  }
  return withExitCode(counts, code)
}

/** Counts of a TAP stream: its test points, without the indented ones of subtests. */
export function countTap({ code, lines }) {
  const counts = { passed: 0, failed: 0, skipped: 0 }
  for (const line of lines) {
    const point = /^(not )?ok \d+(.*)$/.exec(line)
    if (!point) continue
    if (/ # (SKIP|TODO)/i.test(point[2])) counts.skipped += 1
    else if (point[1]) counts.failed += 1
    else counts.passed += 1
  }
  return withExitCode(counts, code)
}

/** A runner that failed without a failed test did not compile, crashed or found nothing: that counts as one. */
function withExitCode(counts, code) {
  if (code !== 0 && counts.failed === 0) counts.failed = 1
  return counts
}
