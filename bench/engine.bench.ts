/**
 * Two engines in memory, without promises, transports or timers: what the protocol itself costs. One operation is one
 * message, encoded, framed, read, decided on, and settled at both ends.
 */

import { ACCEPTED } from '../src/definitions/delivery-state.ts'
import { Engine } from '../src/engine/engine.ts'
import type { ReceiverEndpoint } from '../src/engine/receiver-endpoint.ts'
import { COPY_BELOW, type SenderEndpoint } from '../src/engine/sender-endpoint.ts'
import { decodeMessage } from '../src/message/decode.ts'
import { writeMessage } from '../src/message/encode.ts'
import { type Cases, mix, type Unit } from './case.ts'
import { dataMessages } from './corpus.ts'

const WINDOW = 1000
/** Messages handed in between two outputs. */
const BATCH = 64

interface Pair {
  readonly left: Engine
  readonly right: Engine
  readonly sender: SenderEndpoint
}

/** Moves what `from` has to say to `to`, chunk by chunk as it was written. */
function move(from: Engine, to: Engine): boolean {
  const chunks = from.output(1 << 20, 0)
  for (const chunk of chunks) to.receive(chunk, 0)
  return chunks.length > 0
}

/** Two engines with a session and a link from left to right. */
function linked(): Pair {
  const left = new Engine()
  const right = new Engine()
  left.connection.open({ containerId: 'left' })
  right.connection.open({ containerId: 'right' })
  const session = left.connection.session()
  session.begin()
  const sender = session.sender('bench')
  sender.attach({ source: { address: 'a' }, target: { address: 'b' } })
  const settle = () => {
    let moved = true
    while (moved) {
      const there = move(left, right)
      moved = move(right, left) || there
    }
  }
  settle()
  for (let event = right.nextEvent(); event; event = right.nextEvent()) {
    if (event.type === 'session.begun') event.session.begin()
    if (event.type !== 'link.attached') continue
    const receiver = event.link as ReceiverEndpoint
    receiver.useWindow(WINDOW)
    receiver.attach({ source: event.attach.source, target: event.attach.target as never })
  }
  settle()
  if (sender.credit.linkCredit !== WINDOW) throw new Error(`the pair is not linked: ${sender.credit.linkCredit} credit`)
  return { left, right, sender }
}

function pairUnit(settled: boolean): Unit {
  const messages = dataMessages(1024)
  const { left, right, sender } = linked()
  const init = { settled }
  const pass = () => {
    let sum = 0
    let outcomes = 0
    for (let at = 0; outcomes < messages.length; ) {
      for (const until = Math.min(at + BATCH, messages.length); at < until; at++) {
        const writer = sender.beginMessage(init)
        sender.commitMessage(init, writeMessage(writer, messages[at] as { body: Uint8Array }, COPY_BELOW))
      }
      move(left, right)
      for (let delivery = right.nextDelivery(); delivery; delivery = right.nextDelivery()) {
        const body = decodeMessage(delivery.chunks[0] as Uint8Array).body as Uint8Array
        sum = mix(sum, body[body.length - 1] as number)
        delivery.link.disposition(delivery, ACCEPTED)
        delivery.link.consumed()
      }
      move(right, left)
      while (left.nextOutcome()) outcomes++
      while (left.nextEvent()) sum |= 0
    }
    return sum
  }
  return { ops: messages.length, bytesPerOp: 1024, pass }
}

export const engineCases: Cases = {
  'engine-1k.unsettled': () => pairUnit(false),
  'engine-1k.settled': () => pairUnit(true),
}
