// News for pages that come and go: whoever was away gets what was published meanwhile.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import express from 'express'
import { WseServer } from 'wse-server'

const app = express()
const http = createServer(app)
// The last 1 024 publications of each topic, for an hour.
const wse = new WseServer({ topics: { allow: ['news'] }, recovery: { slots: 1024, ttlSeconds: 3600 } })
wse.attach(http)
app.use(express.static(fileURLToPath(new URL('public', import.meta.url))))
app.post('/news', express.json({ type: () => true }), async (request, response) => {
  const { id, text } = request.body
  const event = { t: 'news', p: { text: String(text).slice(0, 1000) } }
  // Who hears no answer posts again, with the same id: it is published once, and the answer is the same.
  response.json(await wse.publish('news', event, { idempotencyKey: String(id) }))
})

http.listen(Number(process.env.PORT ?? 8000), () => {
  console.log(`http://localhost:${(http.address() as AddressInfo).port}`)
})
