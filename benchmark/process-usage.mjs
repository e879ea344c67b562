/**
 * What the kernel says about a process: its CPU time and its memory.
 */
import { readdirSync, readFileSync } from 'node:fs'

/** Microseconds in one tick of the times in `/proc/<pid>/stat`; Linux tells user space 100 a second. */
const TICK_US = 10_000

/**
 * CPU time of all threads so far, in microseconds, and how the kernel divides it.
 *
 * The total is exact; user and system time are sampled, and good for shares over seconds only.
 */
export function cpuTime(pid) {
  let totalUs = 0
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    totalUs += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]) / 1000
  }
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return { totalUs, userUs: Number(fields[11]) * TICK_US, systemUs: Number(fields[12]) * TICK_US }
}

/** Resident memory in bytes, and the part of it that is mapped from files: the program's own code. */
export function residentMemory(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const bytes = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)[1]) * 1024
  return { bytes: bytes('VmRSS'), codeBytes: bytes('RssFile') }
}
