/** Frames in any chunking (§2.3.1–2, §5.3.1): the golden frames, the bad ones, and who owns the payload. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DecodeError } from '../../src/errors.ts'
import { FrameReader, FramingFault } from '../../src/framing/frame-reader.ts'
import { DEFAULT_DECODE_LIMITS } from '../../src/types/reader.ts'
import { comparable, meaning } from '../definitions/standard.ts'
import { transfer } from '../peer/composites.ts'
import { amqpHeader, concat, frame, fromHex, saslHeader, toHex } from '../peer/wire.ts'
import { type FrameVector, fromJson, loadVectors } from '../vectors/load.ts'
import { bytewise, cutAt, frameReader, payloadOf, type ReadFrame, readFrames } from './reading.ts'

const vectors = loadVectors('frames')

function expectFrame(read: ReadFrame | undefined, vector: FrameVector): void {
  if (!read) throw new Error(`${vector.name} was not read`)
  expect(read.channel).toBe(vector.channel)
  const body = vector.performative === null ? undefined : meaning(fromJson(vector.performative))
  expect(comparable(read.body)).toStrictEqual(comparable(body))
  expect(payloadOf(read)).toBe(vector.payload)
}

describe('frames.json', () => {
  test.each(vectors)('$section $name: whole', vector => {
    const reader = frameReader(vector.type)
    const frames = readFrames(reader, [vector.bytes])
    expect(frames).toHaveLength(1)
    expectFrame(frames[0], vector)
    expect(frames[0]?.left).toBe(0)
    expect(reader.unread).toBe(0)
  })

  test.each(vectors)('$section $name: byte by byte', vector => {
    const reader = frameReader(vector.type)
    const frames = readFrames(reader, bytewise(vector.bytes))
    expect(frames).toHaveLength(1)
    expectFrame(frames[0], vector)
    expect(reader.unread).toBe(0)
  })

  test.each(vectors)('$section $name: cut at every position', vector => {
    for (let at = 1; at < vector.bytes.length; at++) {
      const frames = readFrames(frameReader(vector.type), cutAt(vector.bytes, at))
      expect(frames).toHaveLength(1)
      expectFrame(frames[0], vector)
    }
  })

  test.each([0, 1])('all frames of type %i in one stream, cut anywhere, each as if alone', type => {
    const some = vectors.filter(vector => vector.type === type)
    expect(some.length).toBeGreaterThan(5)
    const stream = concat(...some.map(({ bytes }) => bytes))
    fc.assert(
      fc.property(fc.array(fc.nat({ max: stream.length }), { maxLength: 12 }), places => {
        const reader = frameReader(type)
        const frames = readFrames(reader, cutAt(stream, ...places))
        expect(frames).toHaveLength(some.length)
        for (const [i, vector] of some.entries()) expectFrame(frames[i], vector)
        expect(reader.unread).toBe(0)
      }),
    )
  })

  test.each(vectors)(
    '$section $name: nothing before its last byte but pieces of payload',
    ({ bytes, type, payload }) => {
      for (let length = 0; length < bytes.length; length++) {
        const reader = frameReader(type)
        const frames = readFrames(reader, [bytes.slice(0, length)])
        // A transfer is given once its list is there; how much of its payload is missing is known.
        if (frames[0] === undefined) expect(reader.unread).toBe(length)
        else expect(payload.length / 2 - payloadOf(frames[0]).length / 2).toBe(reader.payloadLeft)
        if (frames[0]) expect(reader.payloadLeft).toBe(bytes.length - length)
      }
    },
  )
})

describe('bad-frames.json', () => {
  const isSasl = ({ section, bytes }: { section: string; bytes: Uint8Array }): boolean =>
    section.startsWith('§5.3') && bytes[5] === 1

  /** The layer above refuses it: here it is a frame without a body, as in §2.3.2. */
  const ABOVE = 'empty SASL frame'
  /** Read as no mechanism at all; §1.4 says that an empty array is an absent field, and this one is mandatory. */
  const ACCEPTED = 'sasl-mechanisms, empty array'

  const read = (type: number, chunks: Uint8Array[]): unknown => {
    try {
      readFrames(frameReader(type), chunks)
      return undefined
    } catch (error) {
      return error
    }
  }

  test.each(loadVectors('bad-frames').filter(({ name }) => name !== ABOVE && name !== ACCEPTED))(
    '$section $name',
    row => {
      const type = isSasl(row) ? 1 : 0
      for (const chunks of [
        [row.bytes],
        bytewise(row.bytes),
        cutAt(row.bytes, 8),
        cutAt(row.bytes, row.bytes.length - 1),
      ]) {
        const error = read(type, chunks)
        expect(error instanceof FramingFault || error instanceof DecodeError, String(error)).toBe(true)
      }
    },
  )

  test.each(loadVectors('bad-frames').filter(({ section }) => section === '§2.3.1'))(
    '$section $name: a fault of the layout is found in the eight bytes of the header',
    ({ bytes }) => {
      expect(read(0, [bytes])).toBeInstanceOf(FramingFault)
      if (bytes.length > 8) expect(read(0, [bytes.slice(0, 8)])).toBeInstanceOf(FramingFault)
    },
  )

  test(`§5.3.1 ${ABOVE}: given without a body`, () => {
    const row = loadVectors('bad-frames').find(({ name }) => name === ABOVE)
    expect(readFrames(frameReader(1), [row?.bytes ?? new Uint8Array()])).toMatchObject([{ body: undefined }])
  })

  test('the offset of a DecodeError counts from the first byte of the frame, wherever the frame lies', () => {
    const good = frame(0)
    const bad = fromHex('0000000c 02 00 0000 00 53 18 46')
    for (const chunks of [[bad], [concat(good, good, bad)], bytewise(concat(good, bad))]) {
      const error = read(0, chunks)
      expect(error).toBeInstanceOf(DecodeError)
      expect((error as DecodeError).offset).toBe(11)
    }
  })
})

describe('§2.4.1 max-frame-size', () => {
  test('a frame of exactly that size passes, one byte more is a fault, before its body has come', () => {
    const bytes = frame(0, transfer({ handle: 0 }), new Uint8Array(512 - 15))
    expect(bytes).toHaveLength(512)
    expect(readFrames(frameReader(0, 512), [bytes])).toHaveLength(1)
    expect(() => readFrames(frameReader(0, 511), [bytes.slice(0, 8)])).toThrow(FramingFault)
    expect(() => readFrames(frameReader(0, 511), [bytes])).toThrow('frame of 512 bytes, where 511 are allowed')
  })

  test('the size is unsigned', () => {
    expect(() => readFrames(frameReader(0), [fromHex('ffffffff 02 00 0000')])).toThrow('frame of 4294967295 bytes')
  })
})

describe('§2.2 protocol headers', () => {
  test.each([
    ['whole', [concat(saslHeader, amqpHeader)]],
    ['byte by byte', bytewise(concat(saslHeader, amqpHeader))],
  ])('%s', (_name, chunks) => {
    const reader = new FrameReader(512, DEFAULT_DECODE_LIMITS)
    const headers: string[] = []
    for (const chunk of chunks) {
      reader.push(chunk)
      while (reader.next() === 'header') headers.push(toHex(reader.header))
    }
    expect(headers).toEqual([toHex(saslHeader), toHex(amqpHeader)])
  })

  test('a frame follows in the same chunk once no header is expected any more', () => {
    const reader = new FrameReader(512, DEFAULT_DECODE_LIMITS)
    reader.push(concat(amqpHeader, frame(7)))
    expect(reader.next()).toBe('header')
    reader.expectHeader = false
    expect(reader.next()).toBe('frame')
    expect(reader.channel).toBe(7)
  })

  test('what is pushed while bytes are unread comes after them', () => {
    const reader = frameReader(0)
    const stream = concat(frame(1), frame(2), frame(3))
    for (const chunk of cutAt(stream, 3, 11, 20)) reader.push(chunk)
    expect(reader.unread).toBe(24)
    const channels = []
    while (reader.next() === 'frame') channels.push(reader.channel)
    expect(channels).toEqual([1, 2, 3])
  })
})

describe('payload', () => {
  const payload = Uint8Array.from({ length: 64 << 10 }, (_, i) => (i * 31) >> 3)
  const bytes = frame(
    1,
    transfer({ handle: 0, deliveryId: 0, deliveryTag: new Uint8Array(4), messageFormat: 0 }),
    payload,
  )

  test('of a frame that lies whole in its chunk: a view of the chunk', () => {
    const chunk = concat(frame(0), bytes, frame(0))
    const frames = readFrames(frameReader(0, 1 << 17), [chunk])
    expect(frames).toHaveLength(3)
    const [piece, ...more] = frames[1]?.pieces ?? []
    expect(more).toHaveLength(0)
    expect(piece?.buffer).toBe(chunk.buffer)
    expect(piece?.byteOffset).toBe(chunk.byteOffset + 8 + bytes.length - payload.length)
    expect(toHex(piece ?? new Uint8Array())).toBe(toHex(payload))
  })

  test('of 64 KiB in pieces: each a view of its chunk, together the payload', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: bytes.length - 1 }), { minLength: 1, maxLength: 6 }), places => {
        const chunks = cutAt(bytes, ...places)
        const [read, ...more] = readFrames(frameReader(0, 1 << 17), chunks)
        expect(more).toHaveLength(0)
        expect(payloadOf(read as ReadFrame)).toBe(toHex(payload))
        // Looking for the end of the list may take at most a few bytes of payload with it.
        const foreign = (read?.pieces ?? []).filter(piece => !chunks.some(chunk => chunk.buffer === piece.buffer))
        expect(foreign.reduce((n, piece) => n + piece.length, 0)).toBeLessThan(64)
      }),
      { numRuns: 60 },
    )
  })

  test('is given as soon as the list of the transfer is there, and what is left is counted down', () => {
    const start = bytes.length - payload.length
    const reader = frameReader(0, 1 << 17)
    reader.push(bytes.slice(0, start + 10_000))
    expect(reader.next()).toBe('frame')
    expect(reader.body?.type).toBe('transfer')
    const first = reader.payload?.length ?? 0
    expect(first + reader.payloadLeft).toBe(payload.length)
    let seen = first
    while (reader.next() === 'payload') seen += reader.payload?.length ?? 0
    expect(seen).toBe(10_000)
    expect(reader.payloadLeft).toBe(payload.length - 10_000)
    reader.push(concat(bytes.slice(start + 10_000), frame(9)))
    expect(reader.next()).toBe('payload')
    expect(reader.payloadLeft).toBe(0)
    expect(reader.next()).toBe('frame')
    expect([reader.channel, reader.payload]).toEqual([9, undefined])
  })

  test.each(['00 80 0000000000000014', '00 a3 12 616d71703a7472616e736665723a6c697374'])(
    'descriptor %s: the same',
    descriptor => {
      for (const list of ['c0 02 01 43', 'd0 00000005 00000001 43']) {
        const body = concat(fromHex(descriptor), fromHex(list), payload.subarray(0, 1000))
        const one = concat(fromHex('00000000 02 00 0001'), body)
        new DataView(one.buffer).setUint32(0, one.length)
        for (const at of [1, 8, 9, 17, 18, 22, 23, 24, 30, 40, 45, 50, 500, one.length - 1]) {
          const [read, ...more] = readFrames(frameReader(0), cutAt(one, at))
          expect(more).toHaveLength(0)
          expect(payloadOf(read as ReadFrame)).toBe(toHex(payload.subarray(0, 1000)))
        }
      }
    },
  )

  test('behind any other performative it is a fault (§2.3.2)', () => {
    for (const hex of ['00 53 18 45', '00 53 17 45', '00 53 10 c0 05 01 a1 02 6331', '00 53 15 c0 03 02 41 43']) {
      const body = concat(fromHex(hex), Uint8Array.of(0x40))
      const bytes = concat(fromHex('00000000 02 00 0001'), body)
      new DataView(bytes.buffer).setUint32(0, bytes.length)
      expect(() => readFrames(frameReader(0), [bytes])).toThrow(DecodeError)
      expect(() => readFrames(frameReader(0), bytewise(bytes))).toThrow(DecodeError)
    }
  })
})

test('any bytes, in any chunks: items, or a FramingFault or DecodeError', () => {
  const piece = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.constantFrom(...vectors.map(({ bytes }) => bytes)),
    fc.constantFrom(...loadVectors('bad-frames').map(({ bytes }) => bytes)),
  )
  const outcome = (chunks: Uint8Array[], type: number): unknown => {
    const reader = frameReader(type)
    try {
      return readFrames(reader, chunks).length
    } catch (error) {
      if (error instanceof FramingFault || error instanceof DecodeError) return error.constructor.name
      throw error
    }
  }
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 4 }), fc.constantFrom(0, 1), (pieces, type) => {
      const stream = concat(...pieces)
      // Whether the frames are good does not depend on the cuts.
      expect(outcome(bytewise(stream), type)).toBe(outcome([stream], type))
    }),
    { numRuns: 500 },
  )
})

describe('§5.3.2 while a SASL server decides, reading is put off', () => {
  test('200,000 chunks of one byte are taken in without joining each anew, and read as one stream', () => {
    const vector = vectors.find(({ type, bytes }) => type === 0 && bytes.length < 100)
    if (!vector) throw new Error('no small frame')
    const count = Math.ceil(200_000 / vector.bytes.length)
    const reader = frameReader(0)
    const began = performance.now()
    for (let i = 0; i < count; i++) for (const byte of vector.bytes) reader.push(Uint8Array.of(byte))
    // Joined each time it is 20 GB of copying.
    expect(performance.now() - began).toBeLessThan(2000)
    expect(reader.unread).toBe(count * vector.bytes.length)
    for (let i = 0; i < count; i++) {
      expect(reader.next()).toBe('frame')
      expect(reader.channel).toBe(vector.channel)
    }
    expect(reader.next()).toBeUndefined()
  })

  test('what was handed out of a chunk stays as it was when more is added behind it', () => {
    const stream = concat(...vectors.filter(({ type, payload }) => type === 0 && payload).map(({ bytes }) => bytes))
    const expected = readFrames(frameReader(0), [stream]).map(payloadOf)
    const reader = frameReader(0)
    const frames: ReadFrame[] = []
    const half = stream.length >> 1
    for (const byte of stream.subarray(0, half)) reader.push(Uint8Array.of(byte))
    const take = (): void => {
      for (let item = reader.next(); item !== undefined; item = reader.next()) {
        if (item === 'frame')
          frames.push({ channel: reader.channel, body: reader.body, pieces: [], left: reader.payloadLeft })
        if (reader.payload) frames.at(-1)?.pieces.push(reader.payload)
      }
    }
    // One item only, so that something is unread when more comes.
    if (reader.next() === 'frame') {
      frames.push({ channel: reader.channel, body: reader.body, pieces: [], left: reader.payloadLeft })
      if (reader.payload) frames.at(-1)?.pieces.push(reader.payload)
    }
    for (const byte of stream.subarray(half)) reader.push(Uint8Array.of(byte))
    take()
    expect(frames.map(payloadOf)).toEqual(expected)
  })
})

describe('§2.7.5 a frame that says transfer and is none, in two chunks', () => {
  const body = (hex: string): Uint8Array => concat(fromHex(hex), new Uint8Array(100))
  test.each([
    ['a list of nothing: the handle is missing', '00 53 14 45'],
    ['no list but a map', '00 53 14 c1 03 00'],
    ['by its long code, with a number in place of the list', '00 80 0000000000000014 52 01'],
    ['a long code that only ends like it', '00 80 0000000100000014 c0 02 01 43'],
    ['not described at all', '52 01'],
    ['described by a symbol, with too much behind it', '00 a3 01 78 c0 02 01 43'],
  ])('%s', (_what, hex) => {
    const bytes = concat(fromHex('00000000 02 00 0000'), body(hex))
    new DataView(bytes.buffer).setUint32(0, bytes.length)
    for (const at of [8, 20, 60, bytes.length - 1])
      expect(() => readFrames(frameReader(0), cutAt(bytes, at))).toThrow(DecodeError)
  })
})
