// Messages, encoded: the exact bytes, the rules of keys and values, and binaries that are not copied. §3.2
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { EncodeError, UsageError } from '../../src/errors.ts'
import { decodeMessage } from '../../src/message/decode.ts'
import { EncodedMessage, encodeMessage, writeMessage } from '../../src/message/encode.ts'
import type { MessageInit } from '../../src/message/message.ts'
import { type AmqpValue, described, symbol, Typed, ulong } from '../../src/types/values.ts'
import { Writer } from '../../src/types/writer.ts'
import { toHex } from '../peer/wire.ts'
import * as arbitrary from '../support/arbitraries.ts'

const hexOf = (init: MessageInit): string => toHex(encodeMessage(init))
const EMPTY_BODY = '005375a000'

describe('what is written', () => {
  test.each<[string, MessageInit, string]>([
    ['nothing at all: a body of no bytes', {}, EMPTY_BODY],
    ['an empty header', { header: {} }, `00537045${EMPTY_BODY}`],
    ['a header of defaults', { header: { durable: false, priority: 4, deliveryCount: 0 } }, `00537045${EMPTY_BODY}`],
    ['a header with a gap', { header: { ttl: 5 } }, `005370c0050340405205${EMPTY_BODY}`],
    ['empty properties', { properties: {} }, `00537345${EMPTY_BODY}`],
    [
      'empty maps',
      { messageAnnotations: {}, applicationProperties: new Map() },
      `005372c10100005374c10100${EMPTY_BODY}`,
    ],
    ['text', { body: 'hi' }, '005377a1026869'],
    ['several data sections', { body: { data: [Uint8Array.of(1), new Uint8Array(0)] } }, '005375a00101005375a000'],
    ['sequences', { body: { sequence: [[true], []] } }, '005376c002014100537645'],
    ['null', { body: { value: null } }, '00537740'],
    ['a footer behind the body', { body: { value: 1 }, footer: { x: true } }, '0053775401005378c10502a3017841'],
  ])('§3.2 %s', (_, init, hex) => expect(hexOf(init)).toBe(hex))

  test('§3.2.5 object keys are strings in application properties, §3.2.10 symbols in annotations', () => {
    const message = decodeMessage(
      encodeMessage({
        applicationProperties: { k: 1, gone: undefined },
        messageAnnotations: { k: 1, gone: undefined },
      }),
    )
    expect([...(message.applicationProperties ?? [])]).toEqual([['k', 1]])
    expect([...(message.messageAnnotations ?? [])]).toEqual([[symbol('k'), 1]])
  })

  test('§3.2.10 keys of maps: text becomes a symbol, ulongs stay', () => {
    const footer = new Map<AmqpValue, AmqpValue>([['k', 1], [ulong(7n), 2], [symbol('s'), 3]]) // biome-ignore format: one line
    expect([...(decodeMessage(encodeMessage({ footer })).footer ?? [])]).toEqual([
      [symbol('k'), 1],
      [ulong(7n), 2],
      [symbol('s'), 3],
    ])
  })

  test('§3.2.5 only own, enumerable keys count', () => {
    const entries: Record<string, AmqpValue> = Object.create({ inherited: 1 })
    entries['own'] = 2
    Object.defineProperty(entries, 'hidden', { value: 3, enumerable: false })
    expect([...(decodeMessage(encodeMessage({ applicationProperties: entries })).applicationProperties ?? [])]).toEqual(
      [['own', 2]],
    )
  })

  test('§3.2.5 null for a section or a field is nothing', () => {
    const init = { header: null, properties: { to: null, subject: 's' }, applicationProperties: null, body: null }
    expect(hexOf(init as never)).toBe(hexOf({ properties: { subject: 's' } }))
  })

  test('§3.2 a getter of one message may encode another', () => {
    const inner = (): string => hexOf({ body: 'inner' })
    const outer = { get body() { return inner() }, header: { durable: true } } // biome-ignore format: one line
    expect(decodeMessage(encodeMessage(outer)).body).toBe(inner())
  })

  test('§3.2 a result whose buffer was transferred spoils no later one', () => {
    const { buffer } = encodeMessage({ body: 'gone' })
    structuredClone(buffer, { transfer: [buffer as ArrayBuffer] })
    expect(hexOf({ body: 'hi' })).toBe('005377a1026869')
  })

  test('§3.2 earlier results stay as they are', () => {
    const all = Array.from({ length: 500 }, (_, i) => encodeMessage({ body: `message ${i} ${'x'.repeat(i)}` }))
    for (const [i, bytes] of all.entries()) expect(decodeMessage(bytes).body).toBe(`message ${i} ${'x'.repeat(i)}`)
  })
})

describe('what is refused', () => {
  const wrong = (value: unknown): never => value as never
  test.each<[string, MessageInit, string]>([
    ['a negative ttl', { header: { ttl: -1 } }, 'header.ttl'],
    ['a ttl of 2^32', { header: { ttl: 2 ** 32 } }, 'header.ttl'],
    ['a ttl with a fraction', { header: { ttl: 1.5 } }, 'header.ttl'],
    ['a priority of 256', { header: { priority: 256 } }, 'header.priority'],
    ['a delivery-count that is text', { header: { deliveryCount: wrong('1') } }, 'header.deliveryCount'],
    ['durable that is text', { header: { durable: wrong('yes') } }, 'header.durable'],
    ['an address that is a number', { properties: { to: wrong(5) } }, 'properties.to'],
    ['a message-id that is a number', { properties: { messageId: wrong(5) } }, 'properties.messageId'],
    ['a message-id below 0', { properties: { messageId: -1n } }, 'properties.messageId'],
    ['a user-id that is text', { properties: { userId: wrong('me') } }, 'properties.userId'],
    ['a content-type beyond ASCII', { properties: { contentType: 'é' } }, 'properties.contentType'],
    ['a creation-time that is a number', { properties: { creationTime: wrong(0) } }, 'properties.creationTime'],
    ['an invalid Date', { properties: { creationTime: new Date(Number.NaN) } }, 'properties.creationTime'],
    ['a group-sequence of 2^32', { properties: { groupSequence: 2 ** 32 } }, 'properties.groupSequence'],
    ['a list', { applicationProperties: { retries: [1] } }, 'applicationProperties.retries'],
    ['a map', { applicationProperties: { m: new Map() } }, 'applicationProperties.m'],
    ['an array', { applicationProperties: new Map([['a', new Typed('array', {})]]) }, 'applicationProperties.a'],
    ['a described value', { applicationProperties: { d: described(1, 2) } }, 'applicationProperties.d'],
    ['a plain object', { applicationProperties: { o: wrong({}) } }, 'applicationProperties.o'],
    ['a function', { applicationProperties: { f: wrong(() => 0) } }, 'applicationProperties.f'],
    ['a symbol for a key', { applicationProperties: new Map([[symbol('s'), 1]]) }, 'applicationProperties.s'],
    ['a number for a key', { applicationProperties: new Map([[5, 1]]) }, 'applicationProperties.5'],
    ['an array for a section', { applicationProperties: wrong([]) }, 'applicationProperties'],
    ['a number for a section', { footer: wrong(5) }, 'footer'],
    ['a long for a key', { messageAnnotations: new Map([[5n, 1]]) }, 'messageAnnotations.5'],
    ['a key beyond ASCII', { deliveryAnnotations: { é: 1 } }, 'deliveryAnnotations.é'],
    ['a value of no type', { footer: { x: new Map([['y', wrong({})]]) } }, 'footer.x.y'],
    ['the same key as text and symbol', { footer: new Map<AmqpValue, AmqpValue>([['k', 1], [symbol('k'), 2]]) }, 'footer.k'], // biome-ignore format: one line
    ['a number for a body', { body: wrong(5) }, 'body'],
    ['a body of no kind', { body: wrong({}) }, 'body'],
    ['no data section', { body: { data: [] } }, 'body.data'],
    ['data that is text', { body: { data: [wrong('x')] } }, 'body.data.0'],
    ['no sequence', { body: { sequence: [] } }, 'body.sequence'],
    ['a sequence that is text', { body: { sequence: [wrong('x')] } }, 'body.sequence.0'],
    ['a sequence with a fault', { body: { sequence: [[1], [2, wrong({})]] } }, 'body.sequence.1.1'],
    ['a value with a fault', { body: { value: [wrong({})] } }, 'body.value.0'],
    ['text with a lone surrogate', { body: '\ud800' }, 'body'],
  ])('§3.2 %s', (_, init, path) => {
    try {
      encodeMessage(init)
      expect.unreachable()
    } catch (error) {
      expect(error).toBeInstanceOf(EncodeError)
      expect((error as EncodeError).path).toBe(path)
    }
    expect(hexOf({ body: 'ok' })).toBe('005377a1026f6b')
  })
})

describe('binaries by reference', () => {
  test('§3.2.6 what is left out belongs where the splices say', () => {
    fc.assert(
      fc.property(arbitrary.message, fc.nat({ max: 300 }), fc.nat({ max: 20 }), (init, byReference, before) => {
        const writer = new Writer(16, 64)
        for (let i = 0; i < before; i++) writer.u8(0xee)
        writer.mark = writer.offset
        const splices = writeMessage(writer, init, byReference) ?? []
        const written = writer.written()
        const parts: number[] = []
        let from = 0
        for (const { at, bytes } of splices) {
          expect(bytes.length).toBeGreaterThanOrEqual(byReference)
          parts.push(...written.subarray(from, at), ...bytes)
          from = at
        }
        parts.push(...written.subarray(from))
        expect(toHex(Uint8Array.from(parts))).toBe(hexOf(init))
      }),
    )
  })

  test('§3.2.6 they are the bytes given, in order', () => {
    const data = [new Uint8Array(10), new Uint8Array(9), new Uint8Array(300)]
    const splices = writeMessage(new Writer(), { body: { data } }, 10)
    expect(splices?.map(({ bytes }) => bytes)).toEqual([data[0], data[2]])
    expect(splices?.[0]?.bytes).toBe(data[0])
    expect(writeMessage(new Writer(), { body: 'x'.repeat(50) }, 10)).toBeUndefined()
  })

  test.each([1023, 1024, 2000, 5000, 100_000])('§3.2.6 a body of %i bytes, encoded whole', size => {
    const body = new Uint8Array(size).fill(7)
    const bytes = encodeMessage({ properties: { to: 'q' }, body, footer: { x: 1 } })
    const message = decodeMessage(bytes)
    expect(message.body).toEqual(body)
    expect(message.footer?.get('x')).toBe(1)
  })
})

test('an encoded message is bytes of a format, and nothing else', () => {
  for (const bytes of [[1], 'abcd', undefined, new ArrayBuffer(1)])
    expect(() => new EncodedMessage(bytes as never)).toThrow(UsageError)
  for (const format of [-1, 0.5, 2 ** 32, '1'])
    expect(() => new EncodedMessage(Uint8Array.of(1), format as never)).toThrow(/message-format.*§2\.8\.11/)
  expect(new EncodedMessage(Uint8Array.of(1), 0xffffffff).messageFormat).toBe(0xffffffff)
})

test('what is wrong with a body says where, and what to do', () => {
  expect(() => encodeMessage({ body: { value: new Map([['k', Symbol('x')]]) } as never })).toThrow(
    expect.objectContaining({ path: expect.stringMatching(/^body\.value\.k/) }),
  )
  expect(() => encodeMessage({ body: { temperature: 1 } as never })).toThrow('JSON.stringify')
})
