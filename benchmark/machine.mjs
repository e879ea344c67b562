/**
 * The machine that a benchmark ran on, described so that others can compare, and never by name.
 */
import { readFileSync } from 'node:fs'
import os from 'node:os'

export function describeMachine() {
  const [{ model }] = os.cpus()
  return {
    cpu: model.trim(),
    cores: os.cpus().length,
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    system: `${os.type()} ${os.release().split('-')[0]}`,
    architecture: os.arch(),
    congestionControl: readFileSync('/proc/sys/net/ipv4/tcp_congestion_control', 'utf8').trim(),
    openFiles: openFiles(),
  }
}

/** Descriptors that a process may hold: two benchmarks need more than ten thousand. */
export function openFiles() {
  const limits = readFileSync('/proc/self/limits', 'utf8')
  return Number(/^Max open files\s+(\d+)/m.exec(limits)[1])
}
