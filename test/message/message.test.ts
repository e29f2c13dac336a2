// Messages: round trips against the tables and a second codec, the rules of keys and values, what hostile bytes may
// cause, and how a message shows itself. §3.2
import { inspect } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { header as headerTable, properties as propertiesTable } from '../../src/definitions/sections.ts'
import { DecodeError, EncodeError } from '../../src/errors.ts'
import { decodeMessage } from '../../src/message/decode.ts'
import { encodeMessage, writeMessage } from '../../src/message/encode.ts'
import type { Body, Entries, MessageInit } from '../../src/message/message.ts'
import { AmqpMap } from '../../src/types/map.ts'
import { Reader } from '../../src/types/reader.ts'
import { AmqpSymbol, type AmqpValue, described, symbol, Typed, Uuid, uint, ulong } from '../../src/types/values.ts'
import { Writer } from '../../src/types/writer.ts'
import { decodeAll, fromHex, toHex } from '../peer/wire.ts'
import * as arbitrary from '../support/arbitraries.ts'

const hexOf = (init: MessageInit): string => toHex(encodeMessage(init))
const EMPTY_BODY = '005375a000'

/** Entries as they come back. */
const mapOf = (entries: Entries | undefined, symbols: boolean): AmqpMap | undefined =>
  entries === undefined
    ? undefined
    : entries instanceof AmqpMap
      ? entries
      : new AmqpMap(
          Object.entries(entries)
            .filter(([, value]) => value !== undefined)
            .map(([key, value]) => [symbols ? new AmqpSymbol(key) : key, value as AmqpValue]),
        )

/** A body as it comes back. */
const bodyOf = (body: Body = new Uint8Array(0)): Body => {
  if (typeof body === 'object' && 'data' in body && body.data.length === 1) return body.data[0] as Uint8Array
  if (typeof body === 'object' && 'value' in body && typeof body.value === 'string') return body.value
  return body
}

const normalised = (init: MessageInit): MessageInit => ({
  header: init.header && {
    durable: init.header.durable ?? false,
    priority: init.header.priority ?? 4,
    ttl: init.header.ttl,
    firstAcquirer: init.header.firstAcquirer ?? false,
    deliveryCount: init.header.deliveryCount ?? 0,
  },
  deliveryAnnotations: mapOf(init.deliveryAnnotations, true),
  messageAnnotations: mapOf(init.messageAnnotations, true),
  properties: init.properties,
  applicationProperties: mapOf(init.applicationProperties, false),
  body: bodyOf(init.body),
  footer: mapOf(init.footer, true),
})

describe('round trips', () => {
  test('§3.2 every message comes back, decoded at once, by its getters, and encoded again', () => {
    fc.assert(
      fc.property(arbitrary.message, init => {
        const bytes = encodeMessage(init)
        const message = decodeMessage(bytes)
        expect(message.toInit()).toEqual(normalised(init))
        const { header, deliveryAnnotations, messageAnnotations, applicationProperties, body, footer } =
          decodeMessage(bytes)
        expect({ header, deliveryAnnotations, messageAnnotations, applicationProperties, body, footer }).toEqual({
          ...normalised(init),
          properties: undefined,
        })
        for (const key of Object.keys(init.properties ?? {}))
          expect(message.properties?.[key as 'to']).toEqual(init.properties?.[key as 'to'])
        expect(toHex(encodeMessage(message))).toBe(toHex(bytes))
        expect(toHex(encodeMessage(message.toInit()))).toBe(toHex(bytes))
        expect(decodeAll(bytes).every(section => section.t === 'described')).toBe(true)
      }),
    )
  })

  test('§3.2.1 a header by hand is the header by the table', () => {
    fc.assert(
      fc.property(arbitrary.header, init => {
        const writer = new Writer()
        headerTable.write(writer, init)
        const bytes = encodeMessage({ header: init })
        expect(toHex(bytes)).toBe(toHex(writer.copy()) + EMPTY_BODY)
        const { type, ...read } = headerTable.read(new Reader(bytes, 3))
        expect(type).toBe('header')
        expect(decodeMessage(bytes).header).toEqual(read)
      }),
    )
  })

  test('§3.2.4 properties by hand are the properties by the table', () => {
    fc.assert(
      fc.property(arbitrary.properties, init => {
        const writer = new Writer()
        propertiesTable.write(writer, init)
        const bytes = encodeMessage({ properties: init })
        expect(toHex(bytes)).toBe(toHex(writer.copy()) + EMPTY_BODY)
        const { type, ...read } = propertiesTable.read(new Reader(bytes, 3))
        expect(type).toBe('properties')
        expect(decodeMessage(bytes).toInit().properties).toEqual(read)
        const lazy = decodeMessage(bytes).properties
        for (const key of Object.keys(read)) expect(lazy?.[key as 'to']).toEqual(read[key as 'to'])
      }),
    )
  })

  test('§3.2.4 what the table refuses in bytes, both ways of reading refuse too', () => {
    const change = fc.tuple(fc.nat(), fc.nat({ max: 255 }))
    fc.assert(
      fc.property(arbitrary.header, arbitrary.properties, change, (header, properties, [at, byte]) => {
        for (const [init, table] of [
          [{ header }, headerTable],
          [{ properties }, propertiesTable],
        ] as const) {
          const bytes = encodeMessage(init).slice()
          bytes[3 + (at % (bytes.length - 3))] = byte
          const byTable = outcome(() => {
            const reader = new Reader(bytes, 3)
            const { type: _, ...read } = table.read(reader)
            // Behind the section stands the body, as it was.
            return toHex(bytes.subarray(reader.offset)) === EMPTY_BODY ? read : 'elsewhere'
          })
          const byHand = outcome(() => decodeMessage(bytes).toInit()['header' in init ? 'header' : 'properties'])
          if (byTable === 'elsewhere' || bytes.at(-2) !== 0xa0 || bytes.at(-1) !== 0) continue
          expect(byHand).toEqual(byTable)
        }
      }),
    )
  })
})

function outcome(run: () => unknown): unknown {
  try {
    return run()
  } catch (error) {
    expect(error).toBeInstanceOf(DecodeError)
    return 'refused'
  }
}

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
    ['a value with a fault', { body: { value: [wrong({})] } }, 'body.0'],
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

describe('what is read', () => {
  const read = (hex: string) => decodeMessage(fromHex(hex))

  test('§3.2 a message without a body, or without anything, has a body of no bytes', () => {
    expect(read('').body).toEqual(new Uint8Array(0))
    expect(read('00537045').body).toEqual(new Uint8Array(0))
    expect(read('').header).toBeUndefined()
    expect(read('').toInit().body).toEqual(new Uint8Array(0))
  })

  test('§3.2.6 binaries are views', () => {
    const bytes = encodeMessage({ body: Uint8Array.of(1, 2, 3), properties: { userId: Uint8Array.of(4) } })
    expect((decodeMessage(bytes).body as Uint8Array).buffer).toBe(bytes.buffer)
    expect(decodeMessage(Buffer.from(bytes)).body).toEqual(Uint8Array.of(1, 2, 3))
  })

  test('§3.2 what was read is kept, except the fields of properties', () => {
    const message = decodeMessage(
      encodeMessage({ header: {}, properties: { creationTime: new Date(0) }, footer: {}, body: { value: [1] } }),
    )
    expect(message.header).toBe(message.header)
    expect(message.properties).toBe(message.properties)
    expect(message.footer).toBe(message.footer)
    expect(message.body).toBe(message.body)
    expect(message.properties?.creationTime).toEqual(new Date(0))
  })

  test('§3.2.4 a malformed field fails when it is read; the others stay readable', () => {
    const message = read('005373c00b04a10178a1017940a101ff005377a10179')
    expect(message.body).toBe('y')
    expect(message.properties?.messageId).toBe('x')
    expect(message.properties?.to).toBeUndefined()
    expect(() => message.properties?.subject).toThrow(DecodeError)
    expect(() => message.properties?.userId).toThrow(DecodeError)
    expect(() => message.toInit()).toThrow(DecodeError)
    expect(message.properties?.messageId).toBe('x')
  })

  test('§3.2.5 a described value in application properties is let through, as .NET clients write them', () => {
    const message = read('005374c11202a1017400a309636f6d2e783a742d755405')
    expect(message.applicationProperties?.get('t')).toEqual(described(symbol('com.x:t-u'), 5))
  })

  test.each([
    ['an unknown symbolic descriptor', '00a30d616d71703a666f6f3a6c697374' + '45'],
    ['a descriptor named as an object has it', '00a30b636f6e7374727563746f7245'],
    ['a descriptor beyond 32 bits', '00800000000100000070' + '45'],
    ['a descriptor that is a string', '00a1017045'],
    ['a descriptor alone', '005370'],
    ['half a descriptor', '0053'],
    ['properties with 14 fields', '005373c00f0e4040404040404040404040404040'],
    ['properties with bytes left over', '005373c003014040'],
    ['properties with fewer fields than counted', '005373c0020240'],
    ['a header with 6 fields', '005370c00706404040404040'],
    ['a map without a count', '005374c100'],
  ])('§3.2 %s is refused', (_, hex) => {
    expect(() => read(hex).toInit()).toThrow(DecodeError)
    expect(() => {
      const { header, properties, applicationProperties } = read(hex)
      return [header, properties, applicationProperties]
    }).toThrow(DecodeError)
  })

  test('§3.2 limits hold for every section, and for the sections of a body together', () => {
    const limits = { maxNesting: 3, maxElements: 5 }
    const check = (init: MessageInit): unknown => decodeMessage(encodeMessage(init), limits).toInit()
    const nothing = new Uint8Array(0)
    expect(() => check({ body: { value: [[[]]] }, footer: { a: 1, b: 2 } })).not.toThrow()
    expect(() => check({ body: { value: [[[[]]]] } })).toThrow(/nested/)
    expect(() => check({ applicationProperties: { a: 1, b: 2, c: 3 } })).toThrow(/elements/)
    expect(() => check({ body: { sequence: [[1, 2], [3, 4]] } })).toThrow(/elements/) // biome-ignore format: one line
    expect(() => check({ body: { data: [nothing, nothing, nothing, nothing, nothing, nothing] } })).toThrow(/elements/)
  })
})

describe('hostile bytes', () => {
  /** Reads everything there is, in every way. */
  function readAll(bytes: Uint8Array): void {
    for (const run of [
      () => decodeMessage(bytes).toInit(),
      () => JSON.stringify(decodeMessage(bytes)),
      () => decodeMessage(bytes).body,
      () => decodeMessage(bytes).applicationProperties,
      () => decodeMessage(bytes).properties?.to,
      () => decodeMessage(bytes).properties?.replyToGroupId,
    ])
      outcome(run)
  }

  test('§3.2 a message cut short at any length gives DecodeError or, between sections, a shorter message', () => {
    fc.assert(
      fc.property(arbitrary.message, init => {
        const bytes = encodeMessage(init)
        for (let length = 0; length < Math.min(bytes.length, 400); length++) readAll(bytes.subarray(0, length))
      }),
      { numRuns: 30 },
    )
  })

  test('§3.2 changed and random bytes give DecodeError and nothing else', () => {
    const changes = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(arbitrary.message, changes, (init, all) => {
        const bytes = encodeMessage(init).slice()
        for (const [at, byte] of all) bytes[at % bytes.length] = byte
        readAll(bytes)
      }),
      { numRuns: 300 },
    )
    fc.assert(
      fc.property(fc.nat({ max: 8 }), fc.uint8Array({ maxLength: 40 }), (code, rest) =>
        readAll(Uint8Array.of(0x00, 0x53, 0x70 + code, ...rest)),
      ),
      { numRuns: 300 },
    )
  })
})

describe('how a message shows itself', () => {
  const message = decodeMessage(
    encodeMessage({
      header: { durable: true },
      messageAnnotations: new Map([[ulong(1n), new Uuid(new Uint8Array(16))]]),
      properties: { messageId: 5n, to: 'q', userId: Uint8Array.of(0xab), creationTime: new Date(0) },
      applicationProperties: { __proto__: null, n: 2n ** 60n, 'a b': symbol('s') } as never,
      body: { value: [new Map([['k', 1n]]), uint(5), described(symbol('d'), Uint8Array.of(1))] },
    }),
  )

  test('§3.2 JSON has all sections, whatever is in them', () => {
    expect(JSON.parse(JSON.stringify(message))).toEqual({
      header: { durable: true, priority: 4, firstAcquirer: false, deliveryCount: 0 },
      messageAnnotations: { 1: '00000000-0000-0000-0000-000000000000' },
      properties: { messageId: '5', to: 'q', userId: 'ab', creationTime: '1970-01-01T00:00:00.000Z' },
      applicationProperties: { n: '1152921504606846976', 'a b': 's' },
      body: { value: [{ k: '1' }, 5, { descriptor: 'd', value: '01' }] },
    })
    expect(JSON.parse(JSON.stringify(message.properties))).toEqual({
      messageId: '5',
      to: 'q',
      userId: 'ab',
      creationTime: '1970-01-01T00:00:00.000Z',
    })
  })

  test('§3.2 the console shows what is there', () => {
    expect(inspect(message)).toContain("to: 'q'")
    expect(inspect(message)).not.toContain('subject')
    expect(inspect(message.properties)).toContain('messageId: 5n')
  })
})
