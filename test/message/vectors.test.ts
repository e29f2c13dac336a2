// The golden vectors of messages: what they decode to, and what encoding that gives. §3.2
import { describe, expect, test } from 'vitest'
import { Section } from '../../src/definitions/sections.ts'
import { DecodeError } from '../../src/errors.ts'
import { decodeMessage } from '../../src/message/decode.ts'
import { encodeMessage } from '../../src/message/encode.ts'
import type { MessageInit } from '../../src/message/message.ts'
import { decodeValue } from '../../src/types/any-reader.ts'
import { AmqpMap } from '../../src/types/map.ts'
import type { Typed } from '../../src/types/values.ts'
import { concat, encode, nul, toHex, type Wire } from '../peer/wire.ts'
import { toTyped } from '../support/wire-values.ts'
import { fromJson, loadVectors } from '../vectors/load.ts'

type Sections = { name: string; value: Wire }[]

const headerFields = ['durable', 'priority', 'ttl', 'firstAcquirer', 'deliveryCount']
const headerDefaults: unknown[] = [false, 4, undefined, false, 0]
const propertyFields =
  'messageId userId to subject replyTo correlationId contentType contentEncoding absoluteExpiryTime creationTime groupId groupSequence replyToGroupId'.split(
    ' ',
  )

const camel = (name: string): string => name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase())
const plain = (value: Wire): never => decodeValue(encode(value)) as never

/** The fields of a list by name. A symbol is a string, and a field that is absent has its default. */
function fieldsOf({ t, v }: Wire, names: readonly string[], defaults: readonly unknown[]): Record<string, unknown> {
  if (t !== 'list') throw new Error(`a ${t}`)
  const fieldOf = (field: Wire | undefined, i: number): unknown =>
    field === undefined || field.t === 'null' ? defaults[i] : field.t === 'symbol' ? field.v : plain(field)
  return Object.fromEntries(names.map((name, i) => [name, fieldOf(v[i], i)]))
}

/** What toInit should give; `map`, `list` and `value` say in which form. */
function initOf(
  sections: Sections,
  map: (value: Wire) => AmqpMap,
  list: (value: Wire) => never[],
  one: (value: Wire) => never,
): MessageInit {
  const init: Record<string, unknown> = {}
  for (const { name, value } of sections) {
    if (name === 'header') init[name] = fieldsOf(value, headerFields, headerDefaults)
    else if (name === 'properties') init[name] = fieldsOf(value, propertyFields, [])
    else if (value.t === 'map' && !name.startsWith('amqp-')) init[camel(name)] = map(value)
  }
  const bodies = sections.filter(({ name }) => name === 'data' || name.startsWith('amqp-'))
  const [first] = bodies
  if (first?.name === 'amqp-value')
    init['body'] = first.value.t === 'string' ? first.value.v : { value: one(first.value) }
  else if (first?.name === 'amqp-sequence') init['body'] = { sequence: bodies.map(({ value }) => list(value)) }
  else if (bodies.length > 1) init['body'] = { data: bodies.map(({ value }) => plain(value)) }
  else init['body'] = first ? plain(first.value) : new Uint8Array(0)
  return init
}

const plainInit = (sections: Sections): MessageInit => initOf(sections, plain, plain, plain)
const typedInit = (sections: Sections): MessageInit =>
  initOf(
    sections,
    value => new AmqpMap(toTyped(value).value as [Typed, Typed][]),
    value => toTyped(value).value as never[],
    value => toTyped(value) as never,
  )

/** The smallest bytes of these sections: without trailing nulls, and with null for the defaults of the header. */
function smallest(sections: Sections): Uint8Array {
  const elided = sections.map(({ name, value }) => {
    if ((name !== 'header' && name !== 'properties') || value.t !== 'list') return { name, value }
    const items = value.v.map((item, i) => (name === 'header' && item.v === headerDefaults[i] ? nul : item))
    while (items.at(-1)?.t === 'null') items.pop()
    return { name, value: { t: 'list', v: items } as const }
  })
  const body = elided.some(({ name }) => name === 'data' || name.startsWith('amqp-'))
  const all: Sections = body ? elided : [...elided, { name: 'data', value: { t: 'binary', v: '' } }]
  return concat(
    ...all.flatMap(({ name, value }) => [
      Uint8Array.of(0, 0x53, Section[camel(name) as keyof typeof Section]),
      encode(value),
    ]),
  )
}

describe('messages.json', () => {
  test.each(loadVectors('messages'))('$section $name', ({ bytes, sections, canonical }) => {
    const wire = sections.map(({ name, value }) => ({ name, value: fromJson(value) }))
    const message = decodeMessage(bytes)
    expect(message.toInit()).toEqual(plainInit(wire))
    expect(() => JSON.stringify(message)).not.toThrow()
    expect(toHex(encodeMessage(typedInit(wire)))).toBe(toHex(smallest(wire)))
    if (canonical) expect(smallest(wire).length).toBeLessThanOrEqual(bytes.length)
    // Read lazily, every field as toInit gives it.
    for (const name of propertyFields)
      expect(message.properties?.[name as 'to']).toEqual(message.toInit().properties?.[name as 'to'])
  })

  test.each(loadVectors('messages'))('$section $name, truncated', ({ bytes }) => {
    for (let length = 0; length < bytes.length; length++) {
      try {
        decodeMessage(bytes.subarray(0, length)).toInit()
      } catch (error) {
        expect(error).toBeInstanceOf(DecodeError)
      }
    }
  })
})

/** Taken all the same: some peers write addresses as symbols. */
const TAKEN = new Set(['properties, to is a symbol'])

test.each(loadVectors('bad-messages').filter(({ name }) => !TAKEN.has(name)))(
  'bad-messages.json: $section $name',
  ({ bytes }) => {
    expect(() => decodeMessage(bytes).toInit()).toThrow(DecodeError)
  },
)
