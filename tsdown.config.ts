// How index.ts becomes the package: the code once, as CommonJS, and an ES module that hands out the same objects.
// Two copies would have two classes `WseError`, and two engines that do not know of each other on one HTTP server.
import { defineConfig } from 'tsdown'

const shared = { platform: 'node', target: 'node20.19', logLevel: 'warn' } as const

const library = defineConfig({
  ...shared,
  entry: 'index.ts',
  format: 'cjs',
  dts: true,
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

/** The command is a user of the package like any other. */
const command = defineConfig({
  ...shared,
  entry: 'bin/wse-server.ts',
  format: 'esm',
  dts: false,
  external: ['wse-server'],
})

export default [library, command]
