/** Our tables against the standard's: every composite, field, type, default and choice of Parts 2–5, both ways. */

import { describe, expect, test } from 'vitest'
import { deliveryStateField, outcomeField } from '../../src/definitions/delivery-state.ts'
import { frameBody } from '../../src/definitions/registry.ts'
import * as restricted from '../../src/definitions/restricted.ts'
import { saslFrame, saslOutcome } from '../../src/definitions/sasl.ts'
import { Section, sectionSymbols } from '../../src/definitions/sections.ts'
import { sourceField, targetField } from '../../src/definitions/terminus.ts'
import { TransactionCapability } from '../../src/definitions/transactions.ts'
import {
  AmqpCondition,
  ConnectionCondition,
  LinkCondition,
  SessionCondition,
  TransactionCondition,
} from '../../src/errors.ts'
import { AMQP_ID, encodeHeader, SASL_ID } from '../../src/framing/protocol-header.ts'
import type { Archetype, FieldType } from '../../src/types/composite.ts'
import { Reader } from '../../src/types/reader.ts'
import { Writer } from '../../src/types/writer.ts'
import { absent, camelCase, type StandardField, standard } from './standard.ts'
import { tables } from './tables.ts'

/** The name of our field type for a field of the standard. */
function fieldTypeOf({ type, requires }: StandardField): string {
  // A transaction-id is the one thing that the standard allows as txn-id (§4.5.4); for a global-id it names none.
  if (type === '*')
    return requires === 'txn-id' ? 'transaction-id' : requires === 'global-tx-id' ? '*' : (requires ?? '*')
  const found = standard.restricted[type]
  if (!found || found.choices || type === 'delivery-tag' || type === 'fields') return type
  return fieldTypeOf({ name: '', type: found.source })
}

describe('composites', () => {
  test('none is missing, none is invented', () => {
    expect([...tables.values()].map(({ name }) => name).sort()).toEqual(
      standard.composites.map(({ name }) => name).sort(),
    )
  })

  test.each(standard.composites)('§$section $name', composite => {
    const table = tables.get(camelCase(composite.name))
    expect(table).toMatchObject({
      name: composite.name,
      code: composite.code,
      symbol: `amqp:${composite.name}:list`,
      section: composite.section,
    })
    const ours = table?.fields.map(({ key, type, mandatory, absent }) => ({ key, type: type.name, mandatory, absent }))
    expect(ours).toEqual(
      composite.fields.map(field => ({
        key: camelCase(field.name),
        type: fieldTypeOf(field),
        mandatory: field.mandatory === true,
        absent: absent(composite, field),
      })),
    )
  })
})

describe('archetypes', () => {
  const providers = (name: string): string[] =>
    standard.composites.filter(({ provides }) => provides?.includes(name)).map(({ name }) => name)
  const members = (type: Archetype<never>): string[] =>
    standard.composites.filter(({ code }) => type.find(code) !== undefined).map(({ name }) => name)

  test.each([
    ['frame', frameBody],
    ['sasl-frame', saslFrame],
    ['source', sourceField],
    ['target', targetField],
    ['delivery-state', deliveryStateField],
  ] as const)('%s', (name, archetype) => {
    expect(members(archetype as Archetype<never>)).toEqual(providers(name))
  })

  test('outcome: all but declared, which only answers a declare (§4.5.5)', () => {
    expect([...members(outcomeField as Archetype<never>), 'declared']).toEqual(providers('outcome'))
  })

  test('§1.5 each is found by code and by symbol, and by nothing else', () => {
    for (const { code, name } of standard.composites.filter(({ provides }) => provides?.includes('frame'))) {
      expect(frameBody.find(code)?.name).toBe(name)
      expect(frameBody.find(`amqp:${name}:list`)?.name).toBe(name)
    }
    for (const other of [0, 0x0f, 0x19, 0x1d, 'amqp:open', '', undefined]) expect(frameBody.find(other)).toBeUndefined()
  })
})

describe('choices', () => {
  const written = <V>(type: FieldType<V>, value: V): Uint8Array => {
    const writer = new Writer()
    type.write(writer, value)
    return writer.copy()
  }
  /** What a choice is on the wire: the smallest encoding of its value. */
  const encoded = (source: string, value: string): Uint8Array => {
    if (source === 'boolean') return Uint8Array.of(value === 'true' ? 0x41 : 0x42)
    if (source === 'ubyte') return Uint8Array.of(0x50, Number(value))
    if (source === 'uint') return value === '0' ? Uint8Array.of(0x43) : Uint8Array.of(0x52, Number(value))
    return Uint8Array.of(0xa3, value.length, ...Buffer.from(value))
  }

  test.each([
    ['role', restricted.roleField],
    ['sender-settle-mode', restricted.senderSettleModeField],
    ['receiver-settle-mode', restricted.receiverSettleModeField],
    ['terminus-durability', restricted.durabilityField],
    ['terminus-expiry-policy', restricted.expiryPolicyField],
    ['sasl-code', saslOutcome.fields[0]?.type as FieldType<string>],
  ] as const)('%s', (name, type) => {
    const { source = '', choices = {} } = standard.restricted[name] ?? {}
    expect(Object.keys(choices).length).toBeGreaterThan(1)
    for (const [choice, value] of Object.entries(choices)) {
      expect(written(type as FieldType<string>, choice)).toEqual(encoded(source, value))
      expect((type as FieldType<string>).read(new Reader(encoded(source, value)))).toBe(choice)
    }
  })

  test.each([
    ['amqp-error', AmqpCondition],
    ['connection-error', ConnectionCondition],
    ['session-error', SessionCondition],
    ['link-error', LinkCondition],
    ['transaction-error', TransactionCondition],
    ['txn-capability', TransactionCapability],
  ] as const)('%s: the constants (§4.5.7, conditions)', (name, constants) => {
    const { choices = {} } = standard.restricted[name] ?? {}
    const expected = Object.entries(choices).map(([choice, symbol]) => [camelCase(choice), symbol])
    expect(Object.entries(constants)).toEqual(expected)
  })
})

test('§3.2 sections: descriptors, by code and by symbol', () => {
  const sections = [
    ...standard.composites.map(({ name, code, provides }) => ({ name, code, provides, symbol: `amqp:${name}:list` })),
    ...Object.entries(standard.restricted).map(([name, type]) => ({ ...type, name, symbol: type.descriptor })),
  ].filter(({ provides }) => provides?.includes('section'))
  expect(sections).toHaveLength(9)
  expect({ ...Section }).toEqual(Object.fromEntries(sections.map(({ name, code }) => [camelCase(name), code])))
  expect(sectionSymbols).toEqual(Object.fromEntries(sections.map(({ symbol, code }) => [symbol, code])))
})

test('§2.8.19 §5.2.2 §5.3.4 constants', () => {
  const { constants } = standard
  expect(restricted.PORT).toBe(constants['PORT'])
  expect(restricted.SECURE_PORT).toBe(constants['SECURE-PORT'])
  expect(restricted.MIN_MAX_FRAME_SIZE).toBe(constants['MIN-MAX-FRAME-SIZE'])
  const version = (prefix: string) => ['MAJOR', 'MINOR', 'REVISION'].map(part => constants[`${prefix}${part}`])
  expect([...encodeHeader(AMQP_ID)]).toEqual([...Buffer.from('AMQP'), 0, ...version('')])
  expect([...encodeHeader(SASL_ID)]).toEqual([...Buffer.from('AMQP'), 3, ...version('SASL-')])
})
