// Arbitrary AMQP values and messages for fast-check. Typed ones are exactly what decodeTyped gives; plain ones are what
// decodeValue gives; a message is what a caller may send.
import fc, { type Arbitrary } from 'fast-check'
import type { MessageId } from '../../src/definitions/restricted.ts'
import type { Body, Entries, HeaderInit, MessageInit, PropertiesInit } from '../../src/message/message.ts'
import { keyIdentity, numberType } from '../../src/types/key-identity.ts'
import { AmqpMap } from '../../src/types/map.ts'
import {
  AmqpSymbol,
  type AmqpTypeName,
  type AmqpValue,
  Decimal,
  Described,
  Typed,
  Uuid,
} from '../../src/types/values.ts'

export const text: Arbitrary<string> = fc.oneof(
  fc.string({ unit: 'binary-ascii', maxLength: 40 }),
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({ unit: 'grapheme', minLength: 60, maxLength: 300 }),
)
export const ascii: Arbitrary<string> = fc.oneof(
  fc.string({ unit: 'binary-ascii', maxLength: 30 }),
  fc.string({ unit: 'binary-ascii', minLength: 200, maxLength: 300 }),
)
export const bytes: Arbitrary<Uint8Array> = fc.oneof(
  fc.uint8Array({ maxLength: 20 }),
  fc.uint8Array({ minLength: 250, maxLength: 260 }),
)
export const date: Arbitrary<Date> = fc.integer({ min: -8.64e15, max: 8.64e15 }).map(ms => new Date(ms))
export const uint32: Arbitrary<number> = fc.oneof(fc.nat({ max: 300 }), fc.nat({ max: 0xffffffff }))
const sixteen = fc.uint8Array({ minLength: 16, maxLength: 16 })
const uuid = sixteen.map(raw => new Uuid(raw))
const decimal = (width: number): Arbitrary<Decimal> =>
  fc.uint8Array({ minLength: width, maxLength: width }).map(raw => new Decimal(raw))
const char = fc.string({ unit: 'binary', minLength: 1, maxLength: 1 })
const signed = (bits: number): Arbitrary<bigint> =>
  fc.oneof(fc.bigInt(-200n, 200n), fc.bigInt(-(2n ** BigInt(bits - 1)), 2n ** BigInt(bits - 1) - 1n))
const ulong = fc.oneof(fc.bigInt(0n, 300n), fc.bigInt(0n, 2n ** 64n - 1n))
const int32 = fc.oneof(fc.integer({ min: -200, max: 200 }), fc.integer())

/** The value that `Typed` holds, for each type that holds no others. */
const scalars = {
  null: fc.constant(null),
  boolean: fc.boolean(),
  ubyte: fc.nat({ max: 0xff }),
  ushort: fc.nat({ max: 0xffff }),
  uint: uint32,
  ulong,
  byte: fc.integer({ min: -0x80, max: 0x7f }),
  short: fc.integer({ min: -0x8000, max: 0x7fff }),
  int: int32,
  long: signed(64),
  float: fc.float(),
  double: fc.double(),
  decimal32: decimal(4),
  decimal64: decimal(8),
  decimal128: decimal(16),
  char,
  timestamp: signed(64),
  uuid,
  binary: bytes,
  string: text,
  symbol: ascii,
} satisfies Partial<Record<AmqpTypeName, Arbitrary<unknown>>>

type ScalarName = keyof typeof scalars

const scalar = (name: ScalarName): Arbitrary<Typed> => scalars[name].map(value => new Typed(name, value))

/** Any value of a type that holds no other values. */
export const typedScalar: Arbitrary<Typed> = fc.oneof(...(Object.keys(scalars) as ScalarName[]).map(scalar))

const { tree } = fc.letrec<{ tree: Typed; list: Typed; map: Typed; array: Typed; described: Typed }>(tie => ({
  tree: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    typedScalar,
    tie('list'),
    tie('map'),
    tie('array'),
    tie('described'),
  ),
  list: fc.array(tie('tree'), { maxLength: 6 }).map(items => new Typed('list', items)),
  map: fc
    .uniqueArray(fc.tuple(tie('tree'), tie('tree')), { maxLength: 6, selector: ([key]) => keyIdentity(key) })
    .map(pairs => new Typed('map', pairs)),
  array: fc.oneof(
    ...(Object.keys(scalars) as ScalarName[]).map(of => arrayOf(of, scalar(of), tie('tree'))),
    arrayOf('list', tie('list'), tie('tree')),
    arrayOf('map', tie('map'), tie('tree')),
    arrayOf('array', tie('array'), tie('tree')),
  ),
  described: fc.record({ descriptor: tie('tree'), value: tie('tree') }).map(value => new Typed('described', value)),
}))

function arrayOf(of: AmqpTypeName, element: Arbitrary<Typed>, descriptor: Arbitrary<Typed>): Arbitrary<Typed> {
  return fc
    .record({ descriptors: fc.array(descriptor, { maxLength: 1 }), elements: fc.array(element, { maxLength: 5 }) })
    .map(({ descriptors, elements }) => new Typed('array', { of, descriptors, elements }))
}

/** Any value, with its type, at every depth. */
export const typed: Arbitrary<Typed> = tree

/** Numbers that are read as they were written: not those that become long, which are read as bigint. */
const plainNumber = fc.oneof(int32, fc.double()).filter(value => numberType(value) !== 'long')

/** A value of a simple type in the form that decodeValue gives. */
export const simpleValue: Arbitrary<AmqpValue> = fc.oneof(
  fc.constant(null),
  fc.boolean(),
  plainNumber,
  signed(64),
  text,
  date,
  bytes,
  ascii.map(name => new AmqpSymbol(name)),
  uuid,
  decimal(8),
  char.map(value => new Typed('char', value)),
)

const { any } = fc.letrec<{ any: AmqpValue; map: AmqpMap }>(tie => ({
  any: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    simpleValue,
    fc.array(tie('any'), { maxLength: 6 }),
    tie('map'),
    fc.tuple(tie('any'), tie('any')).map(([descriptor, value]) => new Described(descriptor, value)),
    fc.array(text, { maxLength: 4 }).map(elements => new Typed('array', { of: 'string', descriptors: [], elements })),
  ),
  map: fc
    .uniqueArray(fc.tuple(tie('any'), tie('any')), { maxLength: 6, selector: ([key]) => keyIdentity(key) })
    .map(entries => new AmqpMap(entries)),
}))

/** Any value in the form that decodeValue gives. */
export const value: Arbitrary<AmqpValue> = any

const messageId: Arbitrary<MessageId> = fc.oneof(text, ulong, uuid, bytes)
const optional = <V>(arbitrary: Arbitrary<V>): Arbitrary<V | undefined> =>
  fc.option(arbitrary, { nil: undefined, freq: 2 })

export const header: Arbitrary<HeaderInit> = fc.record({
  durable: optional(fc.boolean()),
  priority: optional(fc.nat({ max: 255 })),
  ttl: optional(uint32),
  firstAcquirer: optional(fc.boolean()),
  deliveryCount: optional(uint32),
})

export const properties: Arbitrary<PropertiesInit> = fc.record({
  messageId: optional(messageId),
  userId: optional(bytes),
  to: optional(text),
  subject: optional(text),
  replyTo: optional(text),
  correlationId: optional(messageId),
  contentType: optional(ascii),
  contentEncoding: optional(ascii),
  absoluteExpiryTime: optional(date),
  creationTime: optional(date),
  groupId: optional(text),
  groupSequence: optional(uint32),
  replyToGroupId: optional(text),
})

const annotationKey = fc.oneof(
  ascii.map(name => new AmqpSymbol(name)),
  ulong.map(key => new Typed('ulong', key)),
)
const mapOf = (key: Arbitrary<AmqpValue>, inner: Arbitrary<AmqpValue>): Arbitrary<AmqpMap> =>
  fc
    .uniqueArray(fc.tuple(key, inner), { maxLength: 8, selector: ([k]) => keyIdentity(k) })
    .map(entries => new AmqpMap(entries))
const objectOf = (key: Arbitrary<string>, inner: Arbitrary<AmqpValue>): Arbitrary<Entries> =>
  fc.dictionary(key, inner, { maxKeys: 8, noNullPrototype: false })

export const annotations: Arbitrary<Entries> = fc.oneof(mapOf(annotationKey, value), objectOf(ascii, value))
export const applicationProperties: Arbitrary<Entries> = fc.oneof(mapOf(text, simpleValue), objectOf(text, simpleValue))

export const body: Arbitrary<Body> = fc.oneof(
  bytes,
  text,
  fc.array(bytes, { minLength: 1, maxLength: 4 }).map(data => ({ data })),
  fc.array(fc.array(value, { maxLength: 4 }), { minLength: 1, maxLength: 3 }).map(sequence => ({ sequence })),
  value.map(inner => ({ value: inner })),
)

export const message: Arbitrary<MessageInit> = fc.record({
  header: optional(header),
  deliveryAnnotations: optional(annotations),
  messageAnnotations: optional(annotations),
  properties: optional(properties),
  applicationProperties: optional(applicationProperties),
  body: optional(body),
  footer: optional(annotations),
})
