import test from 'ava'
import { WseServer } from 'wse-server'
import { startServer } from './harness/server.js'

for (const [title, options, names] of [
  ['a log without envelopes', { recovery: true, envelope: false }, ['recovery', 'envelope']],
  [
    'a policy with a log where there is none',
    { topicPolicies: [{ topics: ['a'], recovery: true }] },
    ['topicPolicies'],
  ],
  ['slots that are no power of two', { recovery: { slots: 100 } }, ['recovery.slots']],
] as const) {
  test(`refuses ${title}, and names the options`, (t) => {
    const error = t.throws(() => new WseServer(options as never), { code: 'WSE_OPTION_INVALID' })
    for (const name of names) t.true(error?.message.includes(name), error?.message)
  })
}

test('refuses a misspelt option of a call instead of leaving it out', async (t) => {
  const server = await startServer(t, { recovery: true, presence: true })
  await t.throwsAsync(server.publish('a', { t: 'x' }, { idempotencykey: 'k' } as never), { code: 'WSE_OPTION_UNKNOWN' })
  await t.throwsAsync(server.publish('a', { t: 'x' }, null as never), { code: 'WSE_OPTION_INVALID' })
  t.throws(() => server.presence('a', { limt: 5 } as never), { code: 'WSE_OPTION_UNKNOWN' })
  await t.throwsAsync(server.subscribeWithRecovery('nobody', null as never), { code: 'WSE_OPTION_INVALID' })
})

test('refuses a key of text that has no place in a log', async (t) => {
  const server = await startServer(t, { recovery: true })
  await t.throwsAsync(server.publish('a', 'text', { idempotencyKey: 'k' }), { code: 'WSE_TOPIC_UNLOGGED' })
})
