/** §3.2: messages to bytes and back. One operation is one message. */

import { decodeMessage } from '../src/message/decode.ts'
import { encodeMessage } from '../src/message/encode.ts'
import type { Message, MessageInit } from '../src/message/message.ts'
import type { AmqpMap } from '../src/types/map.ts'
import { type Cases, mix, type Unit } from './case.ts'
import { dataMessages, telemetry } from './corpus.ts'

function encoding(messages: readonly MessageInit[]): Unit {
  const pass = () => {
    let sum = 0
    for (const message of messages) {
      const bytes = encodeMessage(message)
      sum = mix(sum, bytes.length ^ (bytes[bytes.length - 1] as number))
    }
    return sum
  }
  return { ops: messages.length, bytesPerOp: averageSize(messages.map(encodeMessage)), pass }
}

function decoding(messages: readonly MessageInit[], read: (message: Message) => number): Unit {
  // Each in a buffer of its own, as `delivery.bytes` is a view of a chunk of its own time.
  const encoded = messages.map(message => encodeMessage(message).slice())
  const pass = () => {
    let sum = 0
    for (const bytes of encoded) sum = mix(sum, read(decodeMessage(bytes)))
    return sum
  }
  return { ops: encoded.length, bytesPerOp: averageSize(encoded), pass }
}

const averageSize = (all: readonly Uint8Array[]): number => all.reduce((sum, b) => sum + b.length, 0) / all.length

/** Every section, every field, as JavaScript values; one value of each section is looked at. */
function readAll(message: Message): number {
  const { header, messageAnnotations, properties, applicationProperties, body } = message.toInit()
  let sum = header?.ttl ?? 0
  sum = mix(sum, String((messageAnnotations as AmqpMap).get('x-opt-device-id')).length)
  sum = mix(sum, properties?.to?.length ?? 0)
  sum = mix(sum, Number((applicationProperties as AmqpMap).get('sequence')))
  return mix(sum, (body as Uint8Array)[17] as number)
}

/** What a router reads: where a message goes. */
const readTo = (message: Message): number => message.properties?.to?.length ?? 0

const readBody = (message: Message): number => {
  const body = message.body as Uint8Array
  return mix(body.length, body[body.length - 1] as number)
}

export const messageCases: Cases = {
  'telemetry.encode': () => encoding(telemetry()),
  'telemetry.decode': () => decoding(telemetry(), readAll),
  'telemetry.route': () => decoding(telemetry(), readTo),
  'data-1k.encode': () => encoding(dataMessages(1024)),
  'data-1k.decode': () => decoding(dataMessages(1024), readBody),
}
