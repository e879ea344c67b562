// How index.ts becomes the package: the code once, as CommonJS, and an ES module that hands out the same objects.
// Two copies would have two classes `WseError`, and two engines that do not know of each other on one HTTP server.
import { readFileSync } from 'node:fs'
import { defineConfig } from 'tsdown'

const shared = { platform: 'node', target: 'node20.19', logLevel: 'warn' } as const

const library = defineConfig({
  ...shared,
  entry: 'index.ts',
  format: 'cjs',
  dts: true,
  // The types have the documentation; the code is left readable for stack traces, without its comments.
  minify: { compress: false, mangle: false, codegen: { removeWhitespace: false } },
  external: ['#binding'],
  plugins: [
    {
      name: 'es-module',
      // The names come from the bundle, so that none is forgotten.
      generateBundle(_, bundle) {
        const code = bundle['index.cjs']
        if (code?.type !== 'chunk') return
        const source = `import wse from './index.cjs'\nexport const { ${code.exports.join(', ')} } = wse\n`
        this.emitFile({ type: 'asset', fileName: 'index.js', source })
        this.emitFile({ type: 'asset', fileName: 'index.d.ts', source: "export * from './index.cjs'\n" })
      },
    },
  ],
})

/**
 * The command is a user of the package like any other. Its WebSocket client is `ws`, bundled: a server that uses the
 * package installs nothing for a command that it may never call. Each subcommand is loaded when it is asked for.
 */
const command = defineConfig({
  ...shared,
  entry: 'bin/wse-server.ts',
  format: 'esm',
  dts: false,
  external: ['wse-server'],
  noExternal: ['ws'],
  minify: { compress: false, mangle: false, codegen: { removeWhitespace: false } },
  outputOptions: { chunkFileNames: 'command/[name].js' },
  plugins: [
    {
      name: 'licence',
      // Whoever passes `ws` on passes its licence on.
      renderChunk(code, { moduleIds }) {
        if (!moduleIds.some((id) => id.includes('/node_modules/ws/'))) return null
        return `/*!\nContains ws.\n\n${readFileSync('node_modules/ws/LICENSE', 'utf8')}*/\n${code}`
      },
    },
  ],
})

export default [library, command]
