// Messages that come back as they went, by the fast paths as by the tables and by a second codec. §3.2
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { header as headerTable, properties as propertiesTable } from '../../src/definitions/sections.ts'
import { DecodeError } from '../../src/errors.ts'
import { decodeMessage } from '../../src/message/decode.ts'
import { encodeMessage } from '../../src/message/encode.ts'
import type { Body, Entries, MessageInit } from '../../src/message/message.ts'
import { AmqpMap } from '../../src/types/map.ts'
import { Reader } from '../../src/types/reader.ts'
import { AmqpSymbol, type AmqpValue } from '../../src/types/values.ts'
import { Writer } from '../../src/types/writer.ts'
import { decodeAll, toHex } from '../peer/wire.ts'
import * as arbitrary from '../support/arbitraries.ts'

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
