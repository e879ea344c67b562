// The packages as users get them: packed, and installed into an empty project that has neither a network nor a compiler.
import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Child } from './child.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const tarballs = join(root, '.cache', 'tarballs')

/** The program behind the command `npm`: started by this Node.js, it needs no shell. */
function npmProgram(): string {
  const found = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'npm'))
  const path = found.find((candidate) => existsSync(candidate))
  if (path === undefined) throw new Error('npm is not on the path')
  return realpathSync(path)
}

function succeed(args: string[], env: NodeJS.ProcessEnv, cwd: string): void {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd, env, encoding: 'utf8' })
  if (status !== 0) throw new Error(`${args.join(' ')} ended with ${status}: ${stdout}${stderr}`)
}

/** Tarballs of the library and of this machine's addon, made from what the build left. */
export function packed(): { library: string; addon: string; platform: string } {
  succeed([join(root, 'scripts', 'pack.mjs')], process.env, root)
  const names = readdirSync(tarballs)
  const library = names.find((name) => /^wse-server-\d/.test(name))
  const addon = names.find((name) => name.startsWith(`wse-server-${process.platform}-${process.arch}`))
  if (library === undefined || addon === undefined) throw new Error(`packed only ${names.join(', ')}`)
  const platform = addon.replace(/^wse-server-(.+?)-\d.*$/, '$1')
  return { library: join(tarballs, library), addon: join(tarballs, addon), platform }
}

/** An empty project with some tarballs installed. */
export class Project {
  readonly #home = mkdtempSync(join(tmpdir(), 'wse-home-'))
  readonly folder = join(this.#home, 'project')
  /** Nothing on the path but Node.js, nothing in the home, and a registry that nobody serves. */
  readonly env = {
    HOME: this.#home,
    PATH: join(this.#home, 'bin'),
    npm_config_cache: join(this.#home, 'cache'),
    npm_config_registry: 'http://127.0.0.1:9',
  }

  constructor(packages: string[]) {
    mkdirSync(this.env.PATH)
    mkdirSync(this.folder)
    symlinkSync(process.execPath, join(this.env.PATH, 'node'))
    writeFileSync(join(this.folder, 'package.json'), '{ "private": true }\n')
    succeed([npmProgram(), 'install', '--offline', '--no-audit', '--no-fund', ...packages], this.env, this.folder)
  }

  /** Makes a package of the repository resolvable, as if the project had installed it. */
  link(name: string): void {
    symlinkSync(join(root, 'node_modules', name), join(this.folder, 'node_modules', name))
  }

  /** Writes a file of the project and returns its path. */
  write(name: string, text: string): string {
    const path = join(this.folder, name)
    writeFileSync(path, text)
    return path
  }

  /** Runs a program in the project's environment. */
  run(args: string[], env: Record<string, string> = {}): Child {
    return new Child(args, { ...this.env, ...env }, process.execPath, this.folder, true)
  }

  /** Runs a program that ends by itself, and returns the first line that it printed. */
  async print(name: string, text: string): Promise<string> {
    return this.run([this.write(name, text)]).nextLine()
  }

  remove(): void {
    rmSync(this.#home, { recursive: true, force: true })
  }
}
