/**
 * The HTTP servers that a real-time server is attached to: what an application of each framework listens with.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { versionsOf } from '../versions.mjs'

const hosts = {
  node: async () => ({ http: createServer(), versions: versionsOf() }),
  express: async () => {
    const { default: express } = await import('express')
    return { http: createServer(express()), versions: versionsOf('express') }
  },
  fastify: async () => {
    const { default: fastify } = await import('fastify')
    const app = fastify()
    await app.ready()
    return { http: app.server, versions: versionsOf('fastify') }
  },
  koa: async () => {
    const { default: Koa } = await import('koa')
    return { http: createServer(new Koa().callback()), versions: versionsOf('koa') }
  },
  hono: async () => {
    const { createAdaptorServer } = await import('@hono/node-server')
    const { Hono } = await import('hono')
    return { http: createAdaptorServer({ fetch: new Hono().fetch }), versions: versionsOf('hono') }
  },
  nest: async () => {
    await import('reflect-metadata')
    const { Module } = await import('@nestjs/common')
    const { NestFactory } = await import('@nestjs/core')
    class Application {}
    Module({})(Application)
    const app = await NestFactory.create(Application, { logger: false })
    await app.init()
    return { http: app.getHttpServer(), versions: versionsOf('@nestjs/core') }
  },
}

/** The server of framework `name`, or with a certificate that of `node:https`; it does not listen yet. */
export async function hostOf(name, tls) {
  return tls ? { http: createSecureServer(tls), versions: versionsOf() } : hosts[name]()
}

/** Listens on a free port and resolves to it. */
export async function listenOn(http) {
  http.listen({ host: '127.0.0.1', port: 0, backlog: 4096 })
  await once(http, 'listening')
  return http.address().port
}
