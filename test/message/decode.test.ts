// Messages, decoded: what is read when, limits, what hostile bytes may cause, and how a message shows itself. §3.2
import { inspect } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DecodeError } from '../../src/errors.ts'
import { decodeMessage } from '../../src/message/decode.ts'
import { encodeMessage } from '../../src/message/encode.ts'
import type { MessageInit } from '../../src/message/message.ts'
import { described, symbol, Uuid, uint, ulong } from '../../src/types/values.ts'
import { fromHex } from '../peer/wire.ts'
import * as arbitrary from '../support/arbitraries.ts'

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

function outcome(run: () => unknown): unknown {
  try {
    return run()
  } catch (error) {
    expect(error).toBeInstanceOf(DecodeError)
    return 'refused'
  }
}
