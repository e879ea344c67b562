// Follows a topic with a log: each publication once and in order, over cuts and reloads of the page.
const MOST = 50

/** `show` gets the last items, oldest first, whenever there are others; `storage` keeps them over a reload. */
export function follow(url, topic, storage, show) {
  // A position is worth something only together with what was got up to there.
  let { position, items } = JSON.parse(storage.getItem(topic)) ?? { items: [] }

  function keep(newItems, newPosition) {
    items = newItems.slice(-MOST)
    position = newPosition
    storage.setItem(topic, JSON.stringify({ position, items }))
    show(items)
  }

  function connect() {
    const socket = new WebSocket(url)
    /** What is missing cannot be had: the next connection asks for the last items, as a new page does. */
    const startAnew = () => {
      socket.onmessage = null
      socket.close()
      keep([], undefined)
    }
    socket.onclose = () => setTimeout(connect, 500 + Math.random() * 1000)
    socket.onmessage = ({ data }) => {
      const { t, p, tp, e, o } = JSON.parse(data)
      if (t === 'server_ready') {
        const from = position ? { recover: true, recovery: { [topic]: position } } : { history: MOST }
        socket.send(JSON.stringify({ t: 'subscription_update', p: { action: 'subscribe', topics: [topic], ...from } }))
      } else if (tp === topic) keep([...items, p], { epoch: e, offset: o })
      else if (t === 'gap' && p.topic === topic) startAnew()
      else if (t === 'subscription_update' && p.recovery[topic]?.epoch) {
        const { recovered, epoch, offset } = p.recovery[topic]
        if (recovered === false) startAnew()
        else keep(items, { epoch, offset })
      }
    }
  }

  show(items)
  connect()
}
