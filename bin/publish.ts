/**
 * `publish`: sends one message as a client, and prints what comes back.
 *
 * What becomes of the message is the application's to say: it may pass it on to a topic, or answer, or do neither.
 *
 * @module
 */
import { setTimeout as delay } from 'node:timers/promises'
import { type Command, milliseconds, named, parsed } from './arguments.js'
import { Client, describe, type Envelope } from './client.js'
import { parseObject } from './json.js'
import { lineOf } from './output.js'
import { TARGET_FLAGS, TARGET_USAGE, targetOf } from './target.js'

const usage = (): string => `Usage: wse-server publish URL TYPE [PAYLOAD] [flags]

Connects, sends the message {"t": TYPE, "p": PAYLOAD}, and ends when the server has read it. What the application then
does with it is the application's part. PAYLOAD is a JSON object; default {}. What is answered meanwhile is printed, a
line of JSON each. The exit code is 0 when the message was read, 1 when not, or when an error came back.

  --wait SECONDS     how long to print answers after the message was read; default 0
${TARGET_USAGE}`

async function run(args: string[]): Promise<number> {
  const { values, positionals } = parsed(args, { ...TARGET_FLAGS, wait: { type: 'string', default: '0' } })
  const [address = '', type = '', payload = '{}'] = named(positionals, ['url', 'type', 'payload'], 2)
  const target = targetOf(address, values)
  const waitMs = milliseconds('wait', values.wait)
  const p = parseObject('the payload', payload)

  let isRefused = false
  const onText = (text: string, envelope: Envelope | null) => {
    if (envelope?.t === 'PONG') return
    isRefused ||= envelope?.t === 'error'
    console.log(lineOf(text))
  }
  const client = await Client.open(target, { onText })
  client.socket.send(JSON.stringify({ t: type, p }))
  // A connection's messages are read in order, so this answer says that the message before it was read.
  await client.ask('ping', { timestamp: Date.now() }, 'PONG')
  const ending = await Promise.race([client.closed, delay(waitMs, null, { ref: false })])
  if (ending) throw new Error(describe(ending))
  await client.close()
  return isRefused ? 1 : 0
}

export const publish: Command = { usage, run }
