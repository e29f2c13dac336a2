/**
 * A process of its own for the memory test: receives a message as a stream from one peer and sends it on to another,
 * over sockets. Prints its growth in memory as JSON when its standard input ends. Arguments: the two ports.
 */

import type { Connection } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'

const [from, to] = process.argv.slice(2).map(Number) as [number, number]

/** Bytes that this process takes: resident, and what of it JavaScript knows of. */
const taken = () => {
  const { rss, heapUsed, external } = process.memoryUsage()
  return { rss, known: heapUsed + external }
}

async function relay(source: Connection, target: Connection): Promise<void> {
  await using receiver = await source.receiver('big', { streaming: true })
  await using sender = await target.sender('copy')
  for await (const delivery of receiver) {
    const { outcome } = await sender.send({ ...delivery.message.toInit(), body: delivery.body })
    if (outcome !== 'accepted') throw new Error(outcome)
    await delivery.accept()
    process.send?.('relayed')
  }
}

const [source, target] = await Promise.all([
  connect({ host: '127.0.0.1', port: from }),
  connect({ host: '127.0.0.1', port: to }),
])
let base: { rss: number; known: number } | undefined
const most = { rss: 0, known: 0 }
process.on('message', what => {
  if (what === 'warm') {
    globalThis.gc?.()
    base = taken()
    process.send?.('measuring')
    setInterval(() => {
      const now = taken()
      most.rss = Math.max(most.rss, now.rss)
      most.known = Math.max(most.known, now.known)
    }, 5)
  } else {
    process.send?.({ rss: most.rss - (base?.rss ?? 0), known: most.known - (base?.known ?? 0) })
    process.disconnect()
    process.exit(0)
  }
})
process.send?.('ready')
await relay(source, target)
