// The table of the ways in which a client reaches an engine. What holds for one of them holds for all.
import 'reflect-metadata'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { createServer as createTlsServer, type Server as HttpsServer } from 'node:https'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { createAdaptorServer } from '@hono/node-server'
import { Module } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import type { ExecutionContext } from 'ava'
import express from 'express'
import fastify from 'fastify'
import { Hono } from 'hono'
import Koa from 'koa'
import { type ServerOptions, WseServer } from 'wse-server'
import { makeCertificate } from './certificates.js'
import { serveOn } from './host.js'
import type { Address } from './socket.js'

/** An engine that serves, and where. */
export interface Service extends Address {
  readonly wse: WseServer
  /** The host that the engine is attached to. */
  readonly http?: Server | HttpsServer
}

export interface Entrance {
  /** Completes the sentence that titles a test. */
  readonly name: string
  /** Starts an engine with these options, closed when the test is over. */
  readonly open: (t: ExecutionContext, options?: ServerOptions) => Promise<Service>
}

/** Has no types of its own; what is used of it here, the next version has too. */
const express4: typeof express = createRequire(import.meta.url)('express4')

const certificate = await makeCertificate()

/** A Nest application of nothing. */
class Application {}
Module({})(Application)

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
  {
    name: 'on a port of its own with TLS',
    async open(t, options) {
      const wse = new WseServer(options)
      t.teardown(() => wse.close())
      const { port } = await wse.listen({ host: '127.0.0.1', port: 0, tls: certificate })
      return { wse, port, ca: certificate.cert }
    },
  },
  { name: 'on node:http', open: (t, options) => serveOn(t, createServer(), options) },
  { name: 'on Express', open: (t, options) => serveOn(t, createServer(express()), options) },
  { name: 'on Express 4', open: (t, options) => serveOn(t, createServer(express4()), options) },
  {
    name: 'on Nest',
    async open(t, options) {
      const app = await NestFactory.create(Application, { logger: false })
      await app.init()
      return serveOn(t, app.getHttpServer() as Server, options)
    },
  },
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
  { name: 'on the streams of node:http', open: (t, options) => serveOn(t, createServer(), options, { via: 'stream' }) },
  {
    name: 'on node:https',
    async open(t, options) {
      const host = await serveOn(t, createTlsServer(certificate), options)
      return { ...host, ca: certificate.cert }
    },
  },
  {
    name: 'on a Unix domain socket',
    async open(t, options) {
      const folder = mkdtempSync(join(tmpdir(), 'wse-'))
      t.teardown(() => rmSync(folder, { recursive: true }))
      // Windows has pipes by name instead.
      const socketPath = process.platform === 'win32' ? `\\\\.\\pipe\\${basename(folder)}` : join(folder, 'socket')
      const host = await serveOn(t, createServer(), options, { socketPath })
      return { ...host, socketPath }
    },
  },
]
