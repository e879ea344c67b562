/**
 * Files that are read again when they change.
 *
 * @module
 */
import { unwatchFile, watchFile } from 'node:fs'

/** How often files are looked at, in milliseconds: works on every file system, and through symbolic links. */
export const WATCH_MS = 2_000

/** Calls `onChange` after each change of one of the files; what it returns ends that. Keeps no process alive. */
export function watch(files: readonly string[], onChange: () => void): () => void {
  // A function of its own: two who watch the same file do not end each other's watch.
  const listener = () => onChange()
  for (const file of files) watchFile(file, { interval: WATCH_MS, persistent: false }, listener)
  return () => {
    for (const file of files) unwatchFile(file, listener)
  }
}
