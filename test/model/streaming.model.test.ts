/**
 * Messages sent while they are made and read while they arrive, on two links of one session, with bytes cut anywhere:
 * what is read is what was sent, in order; what lies unread never exceeds the window; at rest nothing is held. §2.6.14
 */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { IncomingDelivery } from '../../src/engine/incoming-delivery.ts'
import type { OutgoingDelivery } from '../../src/engine/outgoing-delivery.ts'
import { extend, finish } from '../../src/engine/outgoing-stream.ts'
import type { ReceiverEndpoint } from '../../src/engine/receiver-endpoint.ts'
import type { SenderEndpoint } from '../../src/engine/sender-endpoint.ts'
import { hear, Pair } from '../support/pair.ts'
import { patience, runs } from './world.ts'

const WINDOW = 5
const FRAME = 512

interface Line {
  readonly sender: SenderEndpoint
  readonly receiver: ReceiverEndpoint
  /** The message that is being made. */
  making: { delivery: OutgoingDelivery; sent: number[] } | undefined
  /** What was sent, in order: its bytes, and whether it was given up. */
  readonly messages: { bytes: number[]; fate: 'complete' | 'aborted' }[]
  readonly arrived: { delivery: IncomingDelivery; read: number[] }[]
}

function world(cuts: readonly number[]): { pair: Pair; lines: Line[] } {
  let turn = 0
  const pair = new Pair({}, {}, bytes => {
    const chunks: Uint8Array[] = []
    for (let at = 0; at < bytes.length; ) {
      const width = cuts[turn++ % cuts.length] ?? bytes.length
      chunks.push(bytes.slice(at, at + width))
      at += width
    }
    return chunks
  })
  for (const engine of [pair.left, pair.right]) engine.connection.open({ containerId: 'x', maxFrameSize: FRAME })
  const session = pair.left.connection.session()
  session.begin()
  const senders = ['a', 'b'].map(name => session.sender(name))
  for (const sender of senders) sender.attach({ source: {}, target: {} })
  pair.drive()
  const receivers: ReceiverEndpoint[] = []
  for (const event of hear(pair.right).events) {
    if (event.type === 'session.begun') event.session.begin({ incomingWindow: WINDOW })
    if (event.type !== 'link.attached' || event.link.role !== 'receiver') continue
    event.link.isStreaming = true
    event.link.useWindow(3)
    event.link.attach({ source: {}, target: {} })
    receivers.push(event.link)
  }
  pair.drive()
  const lines = senders.map((sender, i) => {
    const receiver = receivers[i] as ReceiverEndpoint
    return { sender, receiver, making: undefined, messages: [], arrived: [] }
  })
  return { pair, lines }
}

const step = fc.record({
  line: fc.integer({ min: 0, max: 1 }),
  what: fc.constantFrom('extend', 'extend', 'finish', 'abort', 'drive', 'drive', 'read', 'read', 'readAll', 'discard'),
  count: fc.integer({ min: 0, max: 1500 }),
})

test('what is read is what was sent, within the window', patience, () => {
  const met = new Set<string>()
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 20, maxLength: 120 }),
      fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 6 }),
      (steps, cuts) => {
        const { pair, lines } = world(cuts)
        const discarded = new Set<IncomingDelivery>()
        const drive = () => {
          pair.drive()
          for (const delivery of hear(pair.right).deliveries) {
            lines.find(({ receiver }) => receiver === delivery.link)?.arrived.push({ delivery, read: [] })
            delivery.link.consumed()
          }
          hear(pair.left)
        }
        const read = (line: Line, most: number) => {
          for (const entry of line.arrived) {
            for (let piece = entry.delivery.stream?.next(); piece; piece = entry.delivery.stream?.next()) {
              entry.read.push(...piece)
              if (--most === 0) return
            }
          }
        }
        const check = () => {
          const session = lines[0]?.receiver.session
          const unread = lines
            .flatMap(({ arrived }) => arrived)
            .reduce((sum, { delivery }) => sum + delivery.chunks.reduce((n, { length }) => n + length, 0), 0)
          expect(unread).toBeLessThanOrEqual(WINDOW * FRAME)
          expect(session?.window.held).toBeLessThanOrEqual(WINDOW)
          expect((session?.window.held ?? 0) + (session?.window.incomingWindow ?? 0)).toBeLessThanOrEqual(WINDOW)
          if (unread > (WINDOW - 1) * (FRAME - 100)) met.add('full')
        }
        let value = 0
        for (const { line: at, what, count } of steps) {
          const line = lines[at] as Line
          const bytes = Array.from({ length: count }, () => value++ & 0xff)
          if (what === 'extend') {
            line.making ??= { delivery: line.sender.transfer(new Uint8Array(0), { isOpen: true }), sent: [] }
            extend(line.making.delivery, [Uint8Array.from(bytes)])
            line.making.sent.push(...bytes)
          } else if (what === 'finish' && line.making) {
            finish(line.making.delivery, [Uint8Array.from(bytes)])
            line.messages.push({ bytes: [...line.making.sent, ...bytes], fate: 'complete' })
            line.making = undefined
          } else if (what === 'abort' && line.making) {
            const came = line.sender.abort(line.making.delivery)
            met.add(came)
            if (came === 'aborted') line.messages.push({ bytes: line.making.sent, fate: 'aborted' })
            line.making = undefined
          } else if (what === 'drive') drive()
          else if (what === 'read') read(line, 1)
          else if (what === 'readAll') read(line, Number.POSITIVE_INFINITY)
          else if (what === 'discard' && line.arrived.length > 0 && count % 4 === 0) {
            const { delivery } = line.arrived[line.arrived.length - 1] as Line['arrived'][number]
            delivery.stream?.discard()
            discarded.add(delivery)
          }
          check()
        }
        for (const line of lines) {
          if (!line.making) continue
          finish(line.making.delivery)
          line.messages.push({ bytes: line.making.sent, fate: 'complete' })
        }
        const isDone = (): boolean =>
          lines.every(({ sender, arrived, messages }) => {
            const ended = arrived.filter(({ delivery }) => delivery.stream?.isRead === true)
            return sender.queue.length === 0 && ended.length === messages.length
          })
        for (let round = 0; round < 10_000 && !isDone(); round++) {
          drive()
          check()
          for (const line of lines) read(line, 2)
        }
        drive()
        for (const { arrived, messages } of lines) {
          expect(arrived.map(({ delivery }) => delivery.stream?.ended)).toEqual(messages.map(({ fate }) => fate))
          arrived.forEach(({ delivery, read: got }, i) => {
            const { bytes = [], fate } = messages[i] ?? {}
            if (discarded.has(delivery) || fate === 'aborted') expect(bytes.slice(0, got.length)).toEqual(got)
            else expect(got).toEqual(bytes)
          })
        }
        const { window } = (lines[0] as Line).receiver.session
        const { left, right } = pair
        expect([window.held, right.connection.incompleteBytes, left.connection.pendingBytes]).toEqual([0, 0, 0])
      },
    ),
    runs(300),
  )
  expect([...met].sort()).toEqual(['aborted', 'full', 'removed'])
})
