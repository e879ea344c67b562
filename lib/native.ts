/**
 * The addon: the only file that imports the generated loader.
 *
 * @module
 */
import { WseError } from './errors.js'

type Binding = typeof import('#binding')

/** The platforms that have a prebuilt addon: the folders of `npm/`. */
const PLATFORMS = [
  'darwin-arm64',
  'darwin-x64',
  'linux-arm64-gnu',
  'linux-arm64-musl',
  'linux-x64-gnu',
  'linux-x64-musl',
  'win32-x64-msvc',
]

/** Everything that the loader tried, the first attempt last. */
function* attempts(failure: unknown): Generator<NodeJS.ErrnoException> {
  for (let cause = failure; cause instanceof Error; cause = cause.cause) yield cause
}

function load(): Binding {
  try {
    return require('#binding')
  } catch (cause) {
    // An addon that is there and cannot be loaded says why itself: a C library that is too old, a damaged file.
    const refusal = [...attempts(cause)].find(({ code }) => code === 'ERR_DLOPEN_FAILED')
    const fault = refusal
      ? `the addon cannot be loaded: ${refusal.message}`
      : `there is no addon for ${process.platform}-${process.arch} here`
    throw new WseError(
      'WSE_BINARY_MISSING',
      `${fault}. Prebuilt are ${PLATFORMS.join(', ')}: they come as optional dependencies, so install without ` +
        '--omit=optional, and on the platform that the program runs on. For another platform build the addon from ' +
        'the sources: Rust 1.89 or newer, a C compiler, then `npm run build`.',
      { cause },
    )
  }
}

export const native = load()
