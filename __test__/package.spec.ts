import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { transformSync } from 'esbuild'
import { connect } from './harness/connect.js'
import { Project, packed } from './harness/installation.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const platforms = readdirSync(join(root, 'npm'))
let tarballs: ReturnType<typeof packed>
/** A project with the packages of this platform, and one that got no addon. */
let project: Project
let bare: Project

test.before(() => {
  tarballs = packed()
  project = new Project([tarballs.library, tarballs.addon])
  bare = new Project([tarballs.library])
})

test.after.always(() => {
  project?.remove()
  bare?.remove()
})

/** The result of a command of the repository. */
function command(name: string, args: string[], cwd = root) {
  return spawnSync(process.execPath, [join(root, 'node_modules', name), ...args], { cwd, encoding: 'utf8' })
}

/** The README's first example in JavaScript. */
function firstExample(): string {
  const [, source = ''] = /^```ts\n(.*?)^```$/ms.exec(readFileSync(join(root, 'README.md'), 'utf8')) ?? []
  return transformSync(source, { loader: 'ts', format: 'esm' }).code
}

/** The same with `require`, inside a function because CommonJS has no `await` outside one. */
function withRequire(source: string): string {
  const required = source.replace(
    /^import (.+) from "(.+)";$/gm,
    (_, names: string, from: string) => `const ${names.replaceAll(' as ', ': ')} = require("${from}");`,
  )
  return `(async () => {\n${required}\n})();\n`
}

async function answers(t: ExecutionContext, program: string): Promise<void> {
  const child = project.run([program], { PORT: '0' })
  t.teardown(() => child.kill())
  const port = Number(/:(\d+)/.exec(await child.nextLine((line) => line.includes('://')))?.[1])
  const token = /eyJ\S+/.exec(await child.nextLine((line) => line.includes('eyJ')))?.[0] ?? ''
  const [one, other] = [await connect(t, { port }, { token }), await connect(t, { port }, { token })]
  one.send({ t: 'chat', p: { text: 'hello' } })
  t.like((await other.next('chat')).p, { text: 'hello' })
}

// Those that run a command block this process meanwhile, so they run alone: a deadline of another could pass.

test.serial('runs the first example of the README in an empty project, as a module and with require', async (t) => {
  project.link('express')
  await answers(t, project.write('example.mjs', firstExample()))
  await answers(t, project.write('example.cjs', withRequire(firstExample())))
})

test('hands out the same objects to import and to require', async (t) => {
  const program = `
    import { createRequire } from 'node:module'
    import * as imported from 'wse-server'
    const required = createRequire(import.meta.url)('wse-server')
    const names = Object.keys(required)
    console.log(JSON.stringify([names, Object.keys(imported), names.every((name) => imported[name] === required[name])]))`
  const [required, imported, isSame] = JSON.parse(await project.print('same.mjs', program))
  t.deepEqual(required, [
    'EventMapping',
    'WseError',
    'WseServer',
    'decodeJwt',
    'encodeJwt',
    'signEnvelope',
    'transformEvent',
    'transformEvents',
    'verifyEnvelope',
  ])
  t.deepEqual(imported, required)
  t.true(isSame)
})

test.serial('has types for both, which speak of one class', (t) => {
  project.write(
    'required.cts',
    "import wse = require('wse-server')\nexport const open = (server: wse.WseServer) => server\n",
  )
  project.write(
    'imported.mts',
    "import { WseServer, type ServerOptions } from 'wse-server'\nimport { open } from './required.cjs'\n" +
      "const options: ServerOptions = { path: '/live' }\nexport const server: WseServer = open(new WseServer(options))\n",
  )
  const compilerOptions = {
    module: 'node16',
    target: 'ES2023',
    lib: ['ES2023', 'ESNext.Disposable'],
    strict: true,
    noEmit: true,
    typeRoots: [join(root, 'node_modules', '@types')],
    types: ['node'],
  }
  project.write('tsconfig.json', JSON.stringify({ compilerOptions, files: ['required.cts', 'imported.mts'] }))
  const { status, stdout } = command('typescript/bin/tsc', ['-p', project.folder])
  t.is(status, 0, stdout)
})

for (const [title, name, args] of [
  ['publint', 'publint/src/cli.js', ['--strict']],
  ['are-the-types-wrong', '@arethetypeswrong/cli/dist/index.js', ['--no-definitely-typed']],
] as const) {
  test.serial(`has nothing that ${title} finds fault with`, (t) => {
    const { status, stdout, stderr } = command(name, [tarballs.library, ...args])
    t.is(status, 0, stdout + stderr)
  })
}

test.serial('works in a bundle that leaves the package out', async (t) => {
  const entry = project.write(
    'entry.mjs',
    "import { WseServer } from 'wse-server'\nconsole.log(typeof new WseServer().close)\n",
  )
  const outfile = join(project.folder, 'bundle.mjs')
  const args = [entry, '--bundle', '--platform=node', '--format=esm', '--external:wse-server', `--outfile=${outfile}`]
  const { status, stderr } = spawnSync(join(root, 'node_modules', '.bin', 'esbuild'), args, { encoding: 'utf8' })
  t.is(status, 0, stderr)
  t.is(await project.run([outfile]).nextLine(), 'function')
})

test.serial('has a command that needs no other package, and names the licence of what it contains', async (t) => {
  const folder = join(project.folder, 'node_modules/wse-server/dist')
  const served = project.run([join(folder, 'wse-server.js'), 'serve', '--port', '0', '--host', '127.0.0.1'])
  t.teardown(() => served.kill())
  const address = await served.nextLine()
  const published = project.run([join(folder, 'wse-server.js'), 'publish', address, 'hello'])
  t.like(await published.exited(), { code: 0, errors: '' })
  const chunks = readdirSync(join(folder, 'command')).map((name) => readFileSync(join(folder, 'command', name), 'utf8'))
  t.true(chunks.some((code) => code.includes('Einar Otto Stangvik') && code.includes('Permission is hereby granted')))
})

test('weighs at most 100 KB without the addon, and installs nothing by a script', (t) => {
  const { size } = statSync(tarballs.library)
  t.log(`library ${size} bytes, addon ${statSync(tarballs.addon).size} bytes, both packed`)
  t.true(size <= 100 * 1024, `${size} bytes`)
  const installed = JSON.parse(readFileSync(join(project.folder, 'node_modules/wse-server/package.json'), 'utf8'))
  t.is(installed.scripts, undefined)
  t.is(installed.dependencies, undefined)
})

test('names the addon of every platform, in exactly its own version', (t) => {
  const installed = JSON.parse(readFileSync(join(project.folder, 'node_modules/wse-server/package.json'), 'utf8'))
  const expected = Object.fromEntries(platforms.map((name) => [`wse-server-${name}`, manifest.version]))
  t.deepEqual(installed.optionalDependencies, expected)
  t.is(manifest.napi.targets.length, platforms.length)
})

const REPORT = `catch ({ code, message }) { console.log(JSON.stringify({ code, message })) }`

for (const [way, file, load] of [
  ['import', 'load.mjs', "await import('wse-server')"],
  ['require', 'load.cjs', "require('wse-server')"],
] as const) {
  test(`says at ${way} that there is no addon, which platforms have one, and how to build`, async (t) => {
    const { code, message } = JSON.parse(await bare.print(file, `try { ${load} } ${REPORT}`))
    t.is(code, 'WSE_BINARY_MISSING')
    t.true(message.startsWith(`there is no addon for ${process.platform}-${process.arch} here.`), message)
    for (const platform of platforms) t.true(message.includes(platform), platform)
    t.true(message.includes('npm run build'))
  })
}

test('says so on a system for which none is built', async (t) => {
  const program = `Object.defineProperty(process, 'platform', { value: 'sunos' })\ntry { require('wse-server') } ${REPORT}`
  const { code, message } = JSON.parse(await project.print('sunos.cjs', program))
  t.is(code, 'WSE_BINARY_MISSING')
  t.true(message.startsWith(`there is no addon for sunos-${process.arch} here.`), message)
})

test.serial('repeats what the system says of an addon that it cannot load', async (t) => {
  const damaged = new Project([tarballs.library])
  t.teardown(() => damaged.remove())
  writeFileSync(join(damaged.folder, `node_modules/wse-server/wse-server.${tarballs.platform}.node`), 'not a library')
  const { code, message } = JSON.parse(await damaged.print('load.cjs', `try { require('wse-server') } ${REPORT}`))
  t.is(code, 'WSE_BINARY_MISSING')
  t.true(message.startsWith('the addon cannot be loaded: '), message)
})
