/** Frames as they are written (§2.3.1): the golden frames again, chunks, and what a refused frame leaves behind. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { TRANSFER_ROOM, type TransferFields } from '../../src/definitions/hot-paths.ts'
import type { Performative, Transfer } from '../../src/definitions/performatives.ts'
import { frameBody } from '../../src/definitions/registry.ts'
import { type SaslPerformative, saslFrame } from '../../src/definitions/sasl.ts'
import { UsageError } from '../../src/errors.ts'
import { FrameWriter } from '../../src/framing/frame-writer.ts'
import { smallest } from '../definitions/standard.ts'
import { close, end, transfer } from '../peer/composites.ts'
import { concat, frame, fromHex, nul, parseFrames, toHex, type Wire } from '../peer/wire.ts'
import { fromJson, loadVectors } from '../vectors/load.ts'
import { frameReader, payloadOf, readFrames } from './reading.ts'

const taken = (writer: FrameWriter): string => toHex(concat(...writer.take()))

function writeBody(writer: FrameWriter, type: number, channel: number, body: Performative | SaslPerformative): void {
  writer.frame(type, channel, 65_536, w => {
    if (type === 1) saslFrame.write(w, body as SaslPerformative)
    else frameBody.write(w, body as Performative)
  })
}

const fieldsOf = (t: Transfer): TransferFields => ({
  handle: t.handle,
  deliveryId: t.deliveryId ?? -1,
  deliveryTag: t.deliveryTag ?? 0,
  messageFormat: t.messageFormat ?? 0,
  settled: t.settled === true,
  more: t.more,
})

/** On the data path a transfer that is not settled leaves the field out, also where the vector says false. §2.7.5 */
function unsaid(wire: Wire, onDataPath: boolean): Wire {
  if (!onDataPath || wire.t !== 'described' || wire.v.value.t !== 'list') return wire
  const v = wire.v.value.v.map((field): Wire => (field.t === 'boolean' && !field.v ? nul : field))
  return { t: 'described', v: { descriptor: wire.v.descriptor, value: { t: 'list', v } } }
}

describe('frames.json', () => {
  const vectors = loadVectors('frames')

  test.each(vectors)('$section $name: read and written again', vector => {
    const [read] = readFrames(frameReader(vector.type), [vector.bytes])
    if (!read) throw new Error('nothing was read')
    const payload = fromHex(payloadOf(read))
    const writer = new FrameWriter()
    if (read.body === undefined) writer.frame(vector.type, read.channel, 512)
    else if (payload.length > 0) {
      writer.transferBefore(read.channel, fieldsOf(read.body as Transfer), payload.length)
      writer.raw(payload)
    } else writeBody(writer, vector.type, read.channel, read.body)
    const performative = vector.performative && unsaid(smallest(fromJson(vector.performative)), payload.length > 0)
    const expected = toHex(frame(vector.channel, performative ?? undefined, payload, vector.type))
    expect(taken(writer)).toBe(expected)
    // One row has a symbolic descriptor, which we never write, and one says `settled: false`.
    const ours = !/by its symbol|payload begins a value/.test(vector.name)
    if (vector.canonical && ours) expect(expected).toBe(toHex(vector.bytes))
  })

  test.each(vectors.filter(({ payload }) => payload !== ''))('$section $name: in place', vector => {
    const [read] = readFrames(frameReader(0), [vector.bytes])
    const payload = fromHex(vector.payload)
    const fields = fieldsOf(read?.body as Transfer)
    const slab = new Uint8Array(TRANSFER_ROOM + payload.length).fill(0xee)
    slab.set(payload, TRANSFER_ROOM)
    const [inPlace, before] = [new FrameWriter(), new FrameWriter()]
    inPlace.transferInPlace(vector.channel, fields, slab, TRANSFER_ROOM, slab.length)
    before.transferBefore(vector.channel, fields, payload.length)
    before.raw(payload)
    const [chunk, ...more] = inPlace.take()
    expect(more).toHaveLength(0)
    expect(chunk?.buffer).toBe(slab.buffer)
    expect(toHex(chunk ?? new Uint8Array())).toBe(taken(before))
  })
})

describe('chunks', () => {
  test('neighbours in the slab leave as one', () => {
    const writer = new FrameWriter()
    for (let channel = 0; channel < 10; channel++) writer.frame(0, channel, 512)
    expect(writer.pending).toBe(80)
    const chunks = writer.take()
    expect(chunks).toHaveLength(1)
    expect(parseFrames(chunks[0] ?? new Uint8Array()).frames.map(({ channel }) => channel)).toEqual([
      ...Array(10).keys(),
    ])
    expect([writer.pending, writer.frames, writer.take().length]).toEqual([0, 10, 0])
  })

  test('payload of the caller goes out as it is', () => {
    const writer = new FrameWriter()
    const payload = new Uint8Array(5000).fill(7)
    writer.transferBefore(
      3,
      { handle: 0, deliveryId: 0, deliveryTag: 1, messageFormat: 0, settled: false, more: false },
      5000,
    )
    writer.raw(payload)
    writer.raw(new Uint8Array(0))
    writer.frame(0, 0, 512)
    const chunks = writer.take()
    expect(chunks).toHaveLength(3)
    expect(chunks[1]).toBe(payload)
    const { frames, rest } = parseFrames(concat(...chunks))
    expect(frames.map(({ channel, payload }) => [channel, payload.length])).toEqual([
      [3, 5000],
      [0, 0],
    ])
    expect(rest).toHaveLength(0)
  })

  test('are the taker’s: later frames change none of them, across many slabs', () => {
    const writer = new FrameWriter()
    const kept: { chunks: Uint8Array[]; text: string }[] = []
    for (let round = 0; round < 400; round++) {
      writeBody(writer, 0, round, { type: 'open', containerId: 'x'.repeat(1 + (round % 50) * 20) } as never)
      const chunks = writer.take()
      kept.push({ chunks, text: toHex(concat(...chunks)) })
    }
    for (const { chunks, text } of kept) expect(toHex(concat(...chunks))).toBe(text)
    expect(kept.reduce((n, { text }) => n + text.length / 2, 0)).toBeGreaterThan(2 * 65_536)
  })

  test('in any mixture say what was written, in order', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('frame' as const), channel: fc.nat({ max: 65_535 }) }),
      fc.record({ kind: fc.constant('before' as const), size: fc.nat({ max: 9000 }) }),
      fc.record({ kind: fc.constant('refused' as const) }),
      fc.record({ kind: fc.constant('take' as const) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), steps => {
        const writer = new FrameWriter()
        const [bytes, expected]: [Uint8Array[], Uint8Array[]] = [[], []]
        for (const step of steps) {
          if (step.kind === 'take') bytes.push(...writer.take())
          else if (step.kind === 'frame') {
            writer.frame(0, step.channel, 512, w => frameBody.write(w, { type: 'end', error: undefined }))
            expected.push(frame(step.channel, end()))
          } else if (step.kind === 'before') {
            const fields = { handle: 1, deliveryId: 2, deliveryTag: 3, messageFormat: 0, settled: true, more: false }
            const payload = new Uint8Array(step.size).fill(step.size)
            writer.transferBefore(1, fields, step.size)
            writer.raw(payload)
            const tag = fromHex('00000003')
            const wire = transfer({ handle: 1, deliveryId: 2, deliveryTag: tag, messageFormat: 0, settled: true })
            expected.push(frame(1, wire, payload))
          } else expect(() => writer.frame(0, 0, 8, w => w.writeUint(1))).toThrow(UsageError)
        }
        bytes.push(...writer.take())
        expect(toHex(concat(...bytes))).toBe(toHex(concat(...expected)))
      }),
    )
  })
})

describe('a frame that cannot be written', () => {
  test('§2.4.1 too large for the peer: UsageError, and nothing was written', () => {
    const writer = new FrameWriter()
    writer.frame(0, 1, 512)
    const large = { type: 'open', containerId: 'x'.repeat(600) } as never
    expect(() => writer.frame(0, 0, 512, w => frameBody.write(w, large))).toThrow(
      new UsageError('a frame of 625 bytes is too large for the peer, which takes 512', '2.4.1'),
    )
    expect([writer.pending, writer.frames]).toEqual([8, 1])
    writer.frame(0, 2, 512, w => frameBody.write(w, { type: 'close', error: undefined }))
    // What it had begun is written over: the frames around it are neighbours.
    const [chunk, ...more] = writer.take()
    expect(more).toHaveLength(0)
    expect(toHex(chunk ?? new Uint8Array())).toBe(toHex(concat(frame(1), frame(2, close()))))
  })

  test('a value that has no encoding: its error, and nothing was written', () => {
    const writer = new FrameWriter()
    const wrong = { type: 'open', containerId: 'c', channelMax: 70_000 } as never
    expect(() => writer.frame(0, 0, 512, w => frameBody.write(w, wrong))).toThrow('channelMax: 70000 is not a ushort')
    expect([writer.pending, writer.frames, writer.take().length]).toEqual([0, 0, 0])
  })

  test('exactly as large as the peer takes is not too large', () => {
    const writer = new FrameWriter()
    writer.frame(0, 0, 12, w => frameBody.write(w, { type: 'close', error: undefined }))
    expect(() => writer.frame(0, 0, 11, w => frameBody.write(w, { type: 'close', error: undefined }))).toThrow(
      UsageError,
    )
    expect(writer.pending).toBe(12)
  })
})

test('capacity: payload that fills a frame to the brim', () => {
  const fields = {
    handle: 300,
    deliveryId: 5,
    deliveryTag: new Uint8Array(32),
    messageFormat: 0,
    settled: true,
    more: true,
  }
  for (const size of [512, 1000, 65_536]) {
    const writer = new FrameWriter()
    const width = writer.capacity(fields, size)
    writer.transferBefore(0, fields, width)
    writer.raw(new Uint8Array(width))
    expect(writer.pending).toBe(size)
  }
})
