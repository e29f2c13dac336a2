import { describe, expect, it } from 'vitest'
import { filters } from '../../src/client/filters.ts'
import { EventLog } from '../../src/emulator/telemetry/event-log.ts'
import { parseSelector, selectorOf, startOf } from '../../src/emulator/telemetry/selector.ts'
import { Described, symbol } from '../../src/types/values.ts'

describe('parseSelector', () => {
  it.each([
    ["amqp.annotation.x-opt-offset > '123'", { by: 'offset', value: 123n, isInclusive: false }],
    ["amqp.annotation.x-opt-offset >= '123'", { by: 'offset', value: 123n, isInclusive: true }],
    ["amqp.annotation.x-opt-offset > '-1'", { by: 'offset', value: -1n, isInclusive: false }],
    ["amqp.annotation.x-opt-offset > '@latest'", { by: 'latest' }],
    ['amqp.annotation.x-opt-sequence-number > 2995', { by: 'sequenceNumber', value: 2995n, isInclusive: false }],
    ["amqp.annotation.x-opt-sequence-number >= '2995'", { by: 'sequenceNumber', value: 2995n, isInclusive: true }],
    [
      "amqp.annotation.x-opt-enqueued-time > '1500000000000'",
      { by: 'enqueuedTime', value: 1_500_000_000_000n, isInclusive: false },
    ],
    [
      'amqp.annotation.x-opt-enqueuedtimeutc > 1500000000000',
      { by: 'enqueuedTime', value: 1_500_000_000_000n, isInclusive: false },
    ],
    [" AMQP.Annotation.x-opt-Offset>'5' ", { by: 'offset', value: 5n, isInclusive: false }],
  ])('%s', (text, expected) => {
    expect(parseSelector(text)).toEqual(expected)
  })

  it.each([
    '',
    'x-opt-offset > 1',
    "amqp.annotation.x-opt-offset > '1",
    'amqp.annotation.x-opt-offset < 1',
    'amqp.annotation.x-opt-offset > 1.5',
    "amqp.annotation.x-opt-enqueued-time > '@latest'",
    'amqp.annotation.x-opt-constructor > 1',
    "amqp.annotation.x-opt-offset > '1' AND amqp.annotation.x-opt-offset > '2'",
  ])('is not %j', text => {
    expect(parseSelector(text)).toBeUndefined()
  })
})

describe('selectorOf', () => {
  // Descriptors come off the wire as plain bigints.
  const numbered = new Described(0x468c00000004n, 'x')

  it.each<[string, Parameters<typeof selectorOf>[0], string | undefined]>([
    ['no source', null, undefined],
    ['no filter', { address: 'a' }, undefined],
    ['a selector', { filter: { s: numbered } }, 'x'],
    ['a selector among others', { filter: { ...filters.noLocal(), s: numbered } }, 'x'],
    ['a value that is not described', { filter: { s: 'x' } }, undefined],
    ['a selector that is no text', { filter: { s: new Described(numbered.descriptor, 5) } }, undefined],
    ['another description', { filter: { s: new Described(symbol('x'), 'x') } }, undefined],
  ])('of %s', (_, source, expected) => {
    expect(selectorOf(source)).toBe(expected)
  })
})

describe('startOf', () => {
  const log = new EventLog({ partitions: 1, maxEvents: 15 })
  for (let i = 0; i < 25; i++)
    log.append(
      {
        deviceId: 'd',
        moduleId: undefined,
        generationId: '1',
        messageId: undefined,
        correlationId: undefined,
        userId: undefined,
        contentType: undefined,
        contentEncoding: undefined,
        properties: new Map(),
        body: new Uint8Array(35),
      },
      1000 + 10 * i,
    )
  // Each takes 100 bytes; those before number 10 were dropped.

  it.each([
    [undefined, 10n],
    ["amqp.annotation.x-opt-offset > '-1'", 10n],
    ["amqp.annotation.x-opt-offset > '300'", 10n],
    ["amqp.annotation.x-opt-offset > '1200'", 13n],
    ["amqp.annotation.x-opt-offset >= '1200'", 12n],
    ["amqp.annotation.x-opt-offset > '1201'", 13n],
    ["amqp.annotation.x-opt-offset > '2400'", 25n],
    ["amqp.annotation.x-opt-offset > '@latest'", 25n],
    ['amqp.annotation.x-opt-sequence-number > 11', 12n],
    ['amqp.annotation.x-opt-sequence-number >= 11', 11n],
    ['amqp.annotation.x-opt-sequence-number > 24', 25n],
    ['amqp.annotation.x-opt-sequence-number >= 25', 25n],
    ['amqp.annotation.x-opt-enqueued-time > 1150', 16n],
    ['amqp.annotation.x-opt-enqueued-time >= 1150', 15n],
    ['amqp.annotation.x-opt-enqueued-time > 9999', 25n],
  ])('%s is %s', (text, expected) => {
    expect(startOf(log, '0', text === undefined ? undefined : parseSelector(text))).toBe(expected)
  })

  it.each(["amqp.annotation.x-opt-offset > '2401'", 'amqp.annotation.x-opt-sequence-number > 26'])(
    'what the partition has not come to is an error: %s',
    text => {
      expect(startOf(log, '0', parseSelector(text))).toMatch(/beyond the last, '24/)
    },
  )

  it('of an empty partition is 0', () => {
    const empty = new EventLog()
    for (const text of ["amqp.annotation.x-opt-offset > '-1'", "amqp.annotation.x-opt-offset > '@latest'"])
      expect(startOf(empty, '0', parseSelector(text))).toBe(0n)
  })
})
