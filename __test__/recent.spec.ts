import test from 'ava'
import { Recent } from '../lib/recent.js'

test('makes a value once, and again when there were too many others since', (t) => {
  const made: string[] = []
  const recent = new Recent((text) => {
    made.push(text)
    return text.toUpperCase()
  }, 2)
  t.deepEqual(
    ['a', 'b', 'a', 'b'].map((text) => recent.of(text)),
    ['A', 'B', 'A', 'B'],
  )
  t.deepEqual(made, ['a', 'b'])
  recent.of('c')
  recent.of('b')
  t.deepEqual(made, ['a', 'b', 'c'])
  recent.of('a')
  t.deepEqual(made, ['a', 'b', 'c', 'a'])
})

test('keeps nothing of what could not be made', (t) => {
  let isBad = true
  const recent = new Recent((text) => {
    if (isBad) throw new Error('not now')
    return text
  })
  t.throws(() => recent.of('a'), { message: 'not now' })
  isBad = false
  t.is(recent.of('a'), 'a')
})
