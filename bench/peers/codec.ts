/** Messages to bytes and back, by every library. One operation is one message. */

import type { MessageInit } from '../../src/message/message.ts'
import { mix, type Unit } from '../case.ts'
import { dataMessages, telemetry } from '../corpus.ts'
import { type Format, fairleadFormat, jsonFormat, msgpackrFormat, rheaFormat } from './formats.ts'
import type { PeerCases } from './peer-case.ts'

type Kind = 'telemetry' | 'data'

const averageSize = (all: readonly Uint8Array[]): number => all.reduce((sum, b) => sum + b.length, 0) / all.length

function encoding<O, B extends Uint8Array, I>(
  format: Format<O, B, I>,
  messages: readonly MessageInit[],
  kind: Kind,
): Unit {
  const prepared = messages.map(format.prepare)
  const encoded = prepared.map(message => format.own(format.encode(message)))
  // Bytes differ from format to format; what they say does not. The sum of a pass is bound to it, and shared.
  const said = encoded.reduce((sum, bytes) => mix(sum, format.read[kind](format.decode(bytes))), 0)
  const written = encoded.reduce((sum, bytes) => mix(sum, sumOf(bytes)), 0)
  const pass = () => {
    let sum = 0
    for (const message of prepared) sum = mix(sum, sumOf(format.encode(message)))
    return (sum - written + said) | 0
  }
  return { ops: prepared.length, bytesPerOp: averageSize(encoded), pass }
}

const sumOf = (bytes: Uint8Array): number => bytes.length ^ (bytes[bytes.length - 1] as number)

function decoding<O, B extends Uint8Array, I>(
  format: Format<O, B, I>,
  messages: readonly MessageInit[],
  kind: Kind,
): Unit {
  const encoded = messages.map(message => format.own(format.encode(format.prepare(message))))
  const read = format.read[kind]
  const pass = () => {
    let sum = 0
    for (const bytes of encoded) sum = mix(sum, read(format.decode(bytes)))
    return sum
  }
  return { ops: encoded.length, bytesPerOp: averageSize(encoded), pass }
}

function byAll(kind: Kind, ring: () => readonly MessageInit[], unit: typeof encoding) {
  return {
    fairlead: () => unit(fairleadFormat, ring(), kind),
    rhea: () => unit(rheaFormat, ring(), kind),
    JSON: () => unit(jsonFormat, ring(), kind),
    msgpackr: () => unit(msgpackrFormat, ring(), kind),
  }
}

export const codecPeers: PeerCases = {
  'telemetry.encode': byAll('telemetry', telemetry, encoding),
  'data-1k.encode': byAll('data', () => dataMessages(1024), encoding),
  'telemetry.decode': byAll('telemetry', telemetry, decoding),
  'data-1k.decode': byAll('data', () => dataMessages(1024), decoding),
}
