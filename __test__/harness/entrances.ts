// The table of the ways in which a client reaches an engine. What holds for one of them holds for all.
import { createServer, type Server } from 'node:http'
import { createAdaptorServer } from '@hono/node-server'
import type { ExecutionContext } from 'ava'
import express from 'express'
import fastify from 'fastify'
import { Hono } from 'hono'
import Koa from 'koa'
import { type ServerOptions, WseServer } from 'wse-server'
import { serveOn } from './host.js'
import type { Address } from './socket.js'

/** An engine that serves, and where. */
export interface Service extends Address {
  readonly wse: WseServer
  /** The host that the engine is attached to. */
  readonly http?: Server
}

export interface Entrance {
  /** Completes the sentence that titles a test. */
  readonly name: string
  /** Starts an engine with these options, closed when the test is over. */
  readonly open: (t: ExecutionContext, options?: ServerOptions) => Promise<Service>
}

export const entrances: Entrance[] = [
  {
    name: 'on a port of its own',
    async open(t, options) {
      const wse = new WseServer(options)
      t.teardown(() => wse.close())
      const { port } = await wse.listen({ host: '127.0.0.1', port: 0 })
      return { wse, port }
    },
  },
  { name: 'on node:http', open: (t, options) => serveOn(t, createServer(), options) },
  { name: 'on Express', open: (t, options) => serveOn(t, createServer(express()), options) },
  {
    name: 'on Fastify',
    async open(t, options) {
      const app = fastify()
      await app.ready()
      return serveOn(t, app.server, options)
    },
  },
  { name: 'on Koa', open: (t, options) => serveOn(t, createServer(new Koa().callback()), options) },
  {
    name: 'on Hono',
    open: (t, options) => serveOn(t, createAdaptorServer({ fetch: new Hono().fetch }) as Server, options),
  },
]
