/**
 * The database: PostgreSQL inside the process, in memory or in a folder.
 *
 * Owns opening, the schema and the JavaScript form of SQL's types. Never knows what a query means.
 */
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PGlite, type Transaction, types } from '@electric-sql/pglite'
import { dataDir } from '@electric-sql/pglite-prepopulatedfs'

export type Database = PGlite
/** What a query can be asked of: the database, or a transaction in it. */
export type Queries = Pick<Transaction, 'query'>

/** Opens the database in `folder`, creating it where there is none; without a folder, a new one in memory. */
export async function openDatabase(folder?: string): Promise<Database> {
  if (folder !== undefined) mkdirSync(folder, { recursive: true })
  const isNew = folder === undefined || !existsSync(join(folder, 'PG_VERSION'))
  const database = await PGlite.create({
    ...(folder !== undefined && { dataDir: folder }),
    ...(isNew && { loadDataDir: await dataDir() }), // An empty cluster from a package: initdb would take seconds.
    parsers: {
      [types.NUMERIC]: Number,
      [types.DATE]: (date) => date,
      [types.TIMESTAMPTZ]: (at) => new Date(at).toISOString(),
    },
  })
  await database.exec(readFileSync(new URL('schema.sql', import.meta.url), 'utf8'))
  return database
}

/** The rows that `query` yields; the type is the caller's claim about its columns. */
export async function rows<T>(sql: Queries, query: string, parameters: unknown[] = []): Promise<T[]> {
  return (await sql.query<T>(query, parameters)).rows
}
