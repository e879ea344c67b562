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

/** What the loader says where there is simply nothing: of its own, of Node.js, and of a platform without a name. */
const ABSENT = /^(Cannot find native binding|Cannot find module|Unsupported )/

/** Why an addon that is there was not loaded: a C library that is too old, a damaged file. */
function refusal(failure: unknown): string | undefined {
  for (let cause = failure; cause instanceof Error; cause = cause.cause) {
    if (!ABSENT.test(cause.message)) return cause.message
  }
  return undefined
}

function load(): Binding {
  try {
    return require('#binding')
  } catch (cause) {
    const reason = refusal(cause)
    const fault = reason
      ? `the addon cannot be loaded: ${reason}`
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
