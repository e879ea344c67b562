/**
 * The addon: the only file that imports the generated loader.
 *
 * @module
 */
import * as binding from '#binding'

export const native: typeof binding = binding
