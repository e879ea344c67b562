/**
 * How a benchmark steers a server: one JSON object a line, a command in, an answer out.
 *
 * Knows no command itself. The end of the input is the order to exit, so that no server outlives the
 * benchmark that started it.
 */
import { createInterface } from 'node:readline'

/** Obeys the commands on standard input: `handlers[verb](options)` answers, or rejects. */
export async function obey(handlers) {
  const running = new Set()
  for await (const line of createInterface({ input: process.stdin })) {
    const task = execute(handlers, JSON.parse(line))
    running.add(task)
    task.finally(() => running.delete(task))
  }
  process.exit(0)
}

async function execute(handlers, { id, do: verb, ...options }) {
  try {
    if (!handlers[verb]) throw new Error(`unknown command ${verb}`)
    write({ id, result: (await handlers[verb](options)) ?? {} })
  } catch (error) {
    write({ id, error: String(error?.stack ?? error) })
  }
}

function write(answer) {
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
