// The site that `npm run docs` builds: its menu, its search, its look. Owns no text: pages are Markdown files that read
// the same on the site and in the repository.
import { defineConfig } from 'vitepress'
import { repository, repositoryLinks } from './links.mjs'
import { pages } from './menu.mjs'

export default defineConfig({
  title: 'wse-server',
  description: 'A real-time WebSocket engine for Node.js, on the port that your service already has.',
  lang: 'en',
  outDir: '../.cache/site',
  cacheDir: '../.cache/vitepress',
  head: [
    ['link', { rel: 'icon', type: 'image/svg+xml', href: '/mark.svg' }],
    ['meta', { name: 'theme-color', content: '#0f7b6c' }],
  ],
  // Pictures stay files: the styles know them by their names, and text as data would be in every page that shows them.
  vite: { build: { assetsInlineLimit: 0 } },
  markdown: {
    theme: { light: 'github-light', dark: 'github-dark' },
    config: (markdown) => markdown.use(repositoryLinks),
  },
  themeConfig: {
    logo: '/mark.svg',
    nav: [
      { text: 'First steps', link: '/guides/first-steps' },
      { text: 'Guides', link: '/guides/router-mode', activeMatch: '/guides/(?!first-steps)' },
      { text: 'Reference', link: '/reference/server', activeMatch: '/reference/' },
      { text: 'Benchmarks', link: '/benchmarks' },
    ],
    sidebar: [
      { text: 'Start', items: pages('guides', ['install', 'first-steps'], { only: true }) },
      {
        text: 'Guides',
        items: pages('guides', [
          'router-mode',
          'standalone',
          'command',
          'authentication',
          'authorization',
          'topics',
          'recovery',
          'presence',
          'callbacks',
          'handlers',
          'python',
          'signing',
          'tls',
          'encryption',
          'compression',
          'slow-readers',
          'processes',
          'logging',
          'behind-a-proxy',
          'draining',
          'deployment',
        ]),
      },
      {
        text: 'Hosts',
        link: '/guides/hosts/',
        items: pages('guides/hosts', ['node-http', 'express', 'fastify', 'koa', 'hono', 'nest', 'next']),
      },
      { text: 'Moving over from', items: pages('guides/moving', ['ws', 'uwebsockets', 'socket-io']) },
      {
        text: 'Reference',
        items: pages('reference', [
          'server',
          'options',
          'events',
          'connection',
          'messages',
          'topics',
          'transformer',
          'errors',
          'protocol',
        ]),
      },
      {
        text: 'API, from the sources',
        collapsed: true,
        items: ['classes', 'functions', 'interfaces', 'type-aliases'].flatMap((kind) => pages(`reference/api/${kind}`)),
      },
      { text: 'Inside', items: pages('.', ['architecture', 'benchmarks']) },
    ].filter(({ items }) => items.length > 0),
    outline: { level: [2, 3], label: 'On this page' },
    search: { provider: 'local' },
    socialLinks: [{ icon: 'github', link: repository }],
    footer: { message: 'MIT licence' },
  },
})
