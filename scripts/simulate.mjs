// `npm run simulate -- [--seeds 100000] [--filter reconnects]`: the random lives of the engine's simulation from so many
// seeds (10 000), and says how far each kind of them is. The filter is one of `cargo test`. Where a seed fails, one of the
// last lines, `replay: …`, is the command that plays it again.
import { parseArgs } from 'node:util'
import { announce, run, script } from './process.mjs'
import { ensureCompilers } from './toolchain.mjs'

await script(async () => {
  const { values } = parseArgs({
    options: { seeds: { type: 'string', default: '10000' }, filter: { type: 'string', default: '' } },
  })
  if (!/^[1-9]\d*$/.test(values.seeds)) throw new Error(`--seeds: expected a number, not ${values.seeds}`)
  await ensureCompilers()
  announce(`Lives from ${values.seeds} seeds`)
  const filter = values.filter === '' ? [] : [values.filter]
  const tests = [
    '--package',
    'wse-engine',
    '--test',
    'simulation',
    '--locked',
    ...filter,
    '--',
    '--nocapture',
    '--quiet',
  ]
  await run('cargo', ['test', ...tests], { env: { SIMULATION_SEEDS: values.seeds } })
})
