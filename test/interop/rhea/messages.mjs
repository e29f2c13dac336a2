/** What is in a message, between rhea and fairlead: every section, every property, every simple type. */

import assert from 'node:assert/strict'
import {
  AmqpMap,
  AmqpSymbol,
  byte,
  char,
  Decimal,
  DecodeError,
  double,
  float,
  int,
  long,
  short,
  symbol,
  timestamp,
  Uuid,
  ubyte,
  uint,
  ulong,
  ushort,
} from '../../../dist/index.js'
import { heard, linked, pump, rhea, ways } from './harness.mjs'

const { message: sections, types } = rhea

const uuidText = '0f1e2d3c-4b5a-4968-8776-655443322110'
const uuid = Uuid.parse(uuidText)
const uuidBytes = Buffer.from(uuidText.replaceAll('-', ''), 'hex')
const moment = new Date('2024-02-29T12:34:56.789Z')
const later = new Date('2031-12-31T23:59:59.999Z')
const decimals = [4, 8, 16].map(width => Buffer.from(Array.from({ length: width }, (_, i) => i + 1)))
const text = 'grüße, 世界 🚢'
const buffer = bytes => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** Sends one message and gives what the other side has of it; it is accepted on the way. */
async function across(t, way, init, options) {
  const { ours, theirs } = await linked(t, way)
  return crossing(t, way, ours, theirs)(init, options)
}

const crossing =
  (t, way, ours, theirs) =>
  async (init, options = {}) => {
    if (way.from === 'us') {
      const seen = heard(t, theirs, 'message')
      const sent = ours.send(init, options)
      const context = await Promise.race([seen, sent.then(() => seen)])
      context.delivery.accept()
      assert.deepEqual(await t.wait(sent, 'the outcome'), { outcome: 'accepted' })
      return context.message
    }
    if (!theirs.sendable()) await heard(t, theirs, 'sendable')
    const accepted = heard(t, theirs, 'accepted')
    theirs.send(init)
    const delivery = await t.wait(ours.receive(), 'a delivery')
    await delivery.accept()
    await accepted
    return delivery.message
  }

const toRhea = ways.filter(({ from }) => from === 'us')
const toUs = ways.filter(({ from }) => from === 'rhea')

/** Every section and every field of header and properties. */
const everySection = [
  ...toRhea.map(way => ({
    name: `${way.path}/all-sections`,
    async run(t) {
      const seen = await across(t, way, {
        header: { durable: true, priority: 9, ttl: 60_000, firstAcquirer: true, deliveryCount: 3 },
        deliveryAnnotations: { 'x-opt-hop': 'first', 'x-opt-hops': 2 },
        messageAnnotations: { 'x-opt-note': text, 'x-opt-list': [1, 'two', null] },
        properties: {
          messageId: 'm-1',
          userId: Uint8Array.of(1, 2, 0, 255),
          to: 'q',
          subject: text,
          replyTo: 'answers',
          correlationId: uuid,
          contentType: 'application/json',
          contentEncoding: 'gzip',
          absoluteExpiryTime: later,
          creationTime: moment,
          groupId: 'g',
          groupSequence: 4_294_967_295,
          replyToGroupId: 'rg',
        },
        applicationProperties: { one: 'eins', empty: '' },
        body: Uint8Array.of(0, 1, 2, 253, 254, 255),
        footer: { 'x-opt-sum': Uint8Array.of(9, 9) },
      })
      assert.equal(seen.durable, true)
      assert.equal(seen.priority, 9)
      assert.equal(seen.ttl, 60_000)
      assert.equal(seen.first_acquirer, true)
      assert.equal(seen.delivery_count, 3)
      assert.deepEqual(seen.delivery_annotations, { 'x-opt-hop': 'first', 'x-opt-hops': 2 })
      assert.deepEqual(seen.message_annotations, { 'x-opt-note': text, 'x-opt-list': [1, 'two', null] })
      assert.equal(seen.message_id, 'm-1')
      assert.deepEqual(seen.user_id, Buffer.of(1, 2, 0, 255))
      assert.equal(seen.to, 'q')
      assert.equal(seen.subject, text)
      assert.equal(seen.reply_to, 'answers')
      assert.deepEqual(seen.correlation_id, uuidBytes)
      assert.equal(seen.content_type, 'application/json')
      assert.equal(seen.content_encoding, 'gzip')
      assert.deepEqual(new Date(seen.absolute_expiry_time), later)
      assert.deepEqual(new Date(seen.creation_time), moment)
      assert.equal(seen.group_id, 'g')
      assert.equal(seen.group_sequence, 4_294_967_295)
      assert.equal(seen.reply_to_group_id, 'rg')
      assert.deepEqual(seen.application_properties, { one: 'eins', empty: '' })
      assert.equal(seen.body.typecode, 0x75)
      assert.deepEqual(seen.body.content, Buffer.of(0, 1, 2, 253, 254, 255))
      assert.deepEqual(seen.footer, { 'x-opt-sum': Buffer.of(9, 9) })
    },
  })),
  ...toUs.map(way => ({
    name: `${way.path}/all-sections`,
    async run(t) {
      const seen = await across(t, way, {
        durable: true,
        priority: 9,
        ttl: 60_000,
        first_acquirer: true,
        delivery_count: 3,
        delivery_annotations: { 'x-opt-hop': 'first', 'x-opt-hops': 2 },
        message_annotations: { 'x-opt-note': text, 'x-opt-list': [1, 'two', null] },
        message_id: 'm-1',
        user_id: Buffer.of(1, 2, 0, 255),
        to: 'q',
        subject: text,
        reply_to: 'answers',
        correlation_id: uuidBytes,
        content_type: 'application/json',
        content_encoding: 'gzip',
        absolute_expiry_time: later.getTime(),
        creation_time: moment.getTime(),
        group_id: 'g',
        group_sequence: 4_294_967_295,
        reply_to_group_id: 'rg',
        application_properties: { one: 'eins', empty: '' },
        body: sections.data_section(Buffer.of(0, 1, 2, 253, 254, 255)),
      })
      const { header, properties } = seen
      assert.deepEqual(
        [header.durable, header.priority, header.ttl, header.firstAcquirer, header.deliveryCount],
        [true, 9, 60_000, true, 3],
      )
      assert.deepEqual(
        [...seen.deliveryAnnotations],
        [
          [symbol('x-opt-hop'), 'first'],
          [symbol('x-opt-hops'), 2],
        ],
      )
      assert.equal(seen.messageAnnotations.get('x-opt-note'), text)
      assert.deepEqual(seen.messageAnnotations.get('x-opt-list'), [1, 'two', null])
      assert.equal(properties.messageId, 'm-1')
      assert.deepEqual([...properties.userId], [1, 2, 0, 255])
      assert.equal(properties.to, 'q')
      assert.equal(properties.subject, text)
      assert.equal(properties.replyTo, 'answers')
      assert.equal(String(properties.correlationId), uuidText)
      assert.equal(properties.contentType, 'application/json')
      assert.equal(properties.contentEncoding, 'gzip')
      assert.deepEqual(properties.absoluteExpiryTime, later)
      assert.deepEqual(properties.creationTime, moment)
      assert.equal(properties.groupId, 'g')
      assert.equal(properties.groupSequence, 4_294_967_295)
      assert.equal(properties.replyToGroupId, 'rg')
      assert.deepEqual(
        [...seen.applicationProperties],
        [
          ['one', 'eins'],
          ['empty', ''],
        ],
      )
      assert.deepEqual([...seen.body], [0, 1, 2, 253, 254, 255])
      assert.equal(seen.footer, undefined)
    },
  })),
  ...ways.map(way => ({
    name: `${way.path}/nothing-but-a-body`,
    async run(t) {
      const seen = await across(t, way, { body: 'plain' })
      if (way.from === 'us') {
        // rhea shows the sections in one object, so an absent one shows as no field.
        assert.deepEqual({ ...seen }, { body: 'plain' })
        return
      }
      // rhea always sends a header and properties, empty if need be.
      assert.equal(seen.header.priority, 4)
      assert.equal(seen.header.durable, false)
      assert.equal(seen.applicationProperties, undefined)
      assert.equal(seen.messageAnnotations, undefined)
      assert.equal(seen.body.value ?? seen.body, 'plain')
    },
  })),
]

/** rhea writes the footer in front of the body, against §3.2: such a message is told from a good one, and rejected. */
const misplacedFooter = toUs.map(way => ({
  name: `${way.path}/footer-in-front-of-the-body`,
  async run(t) {
    const { ours, theirs } = await linked(t, way)
    const rejected = heard(t, theirs, 'rejected')
    pump(theirs, 1, () => ({ body: 'x', footer: { 'x-opt-sum': 1 } }))
    const delivery = await t.wait(ours.receive(), 'a delivery')
    assert.throws(() => delivery.message, DecodeError)
    await delivery.reject({ condition: 'amqp:decode-error', description: 'section out of order' })
    assert.equal((await rejected).delivery.remote_state.error.condition, 'amqp:decode-error')
    // The link goes on.
    assert.equal((await crossing(t, way, ours, theirs)({ body: 'good' })).body.value ?? 'good', 'good')
  },
}))

/** Each simple type as an application property: name, our value, rhea's value, what each sees of the other's. */
const simpleTypes = [
  ['null', null, null, null, null],
  ['true', true, true, true, true],
  ['false', false, false, false, false],
  ['ubyte', ubyte(255), types.wrap_ubyte(255), 255, 255],
  ['ushort', ushort(65_535), types.wrap_ushort(65_535), 65_535, 65_535],
  ['uint', uint(4_294_967_295), types.wrap_uint(4_294_967_295), 4_294_967_295, 4_294_967_295],
  ['uint0', uint(0), types.wrap_uint(0), 0, 0],
  ['ulong', ulong(2n ** 52n + 1n), types.wrap_ulong(2 ** 52 + 1), 2 ** 52 + 1, 2n ** 52n + 1n],
  ['ulong0', ulong(0n), types.wrap_ulong(0), 0, 0n],
  ['byte', byte(-128), types.wrap_byte(-128), -128, -128],
  ['short', short(-32_768), types.wrap_short(-32_768), -32_768, -32_768],
  ['int', int(-2_147_483_648), types.wrap_int(-2_147_483_648), -2_147_483_648, -2_147_483_648],
  ['smallint', int(-5), types.wrap_int(-5), -5, -5],
  ['long', long(-(2n ** 52n) - 1n), types.wrap_long(-(2 ** 52) - 1), -(2 ** 52) - 1, -(2n ** 52n) - 1n],
  ['smalllong', long(-5n), types.wrap_long(-5), -5, -5n],
  ['float', float(-1.5), types.wrap_float(-1.5), -1.5, -1.5],
  ['double', double(Math.PI), types.wrap_double(Math.PI), Math.PI, Math.PI],
  ['char', char('🚢'), types.wrap_char(0x1f6a2), 0x1f6a2, char('🚢')],
  ['timestamp', moment, types.wrap_timestamp(moment.getTime()), moment, moment],
  ['timestamp before 1970', timestamp(-86_400_000n), undefined, new Date(-86_400_000), undefined],
  ['uuid', uuid, types.wrap_uuid(uuidBytes), uuidBytes, uuid],
  ['binary', Uint8Array.of(0, 255), types.wrap_binary(Buffer.of(0, 255)), Buffer.of(0, 255), Uint8Array.of(0, 255)],
  ['string', text, types.wrap_string(text), text, text],
  ['long string', 'x'.repeat(300), types.wrap_string('x'.repeat(300)), 'x'.repeat(300), 'x'.repeat(300)],
  ['symbol', symbol('sym'), types.wrap_symbol('sym'), 'sym', symbol('sym')],
  ['decimal32', new Decimal(decimals[0]), types.Decimal32(decimals[0]), decimals[0], new Decimal(decimals[0])],
  ['decimal64', new Decimal(decimals[1]), types.Decimal64(decimals[1]), decimals[1], new Decimal(decimals[1])],
  ['decimal128', new Decimal(decimals[2]), types.Decimal128(decimals[2]), decimals[2], new Decimal(decimals[2])],
]

/** Binaries of both libraries as Buffers, so that they compare. */
const plain = value => {
  if (value instanceof Uint8Array) return buffer(value)
  if (value instanceof Uuid) return { uuid: String(value) }
  if (value instanceof Decimal) return { decimal: buffer(value.bytes) }
  return value
}

const everyType = [
  ...toRhea.map(way => ({
    name: `${way.path}/application-properties-of-every-type`,
    async run(t) {
      const given = Object.fromEntries(simpleTypes.map(([name, ours]) => [name, ours]))
      const seen = await across(t, way, { applicationProperties: given, body: 'types' })
      for (const [name, , , expected] of simpleTypes) {
        const value = seen.application_properties[name]
        // rhea shows a timestamp as a Date or as milliseconds, depending on where it stands.
        const have = expected instanceof Date ? new Date(value) : value
        assert.deepEqual(have, expected, `rhea's ${name}`)
      }
      assert.equal(Object.keys(seen.application_properties).length, simpleTypes.length)
    },
  })),
  ...toUs.map(way => ({
    name: `${way.path}/application-properties-of-every-type`,
    async run(t) {
      const sent = simpleTypes.filter(([, , theirs]) => theirs !== undefined)
      const given = Object.fromEntries(sent.map(([name, , theirs]) => [name, theirs]))
      const seen = await across(t, way, { application_properties: given, body: 'types' })
      for (const [name, , , , expected] of sent)
        assert.deepEqual(plain(seen.applicationProperties.get(name)), plain(expected), `our ${name}`)
      assert.equal(seen.applicationProperties.size, sent.length)
    },
  })),
]

/**
 * 64-bit numbers that a double cannot hold. From us to rhea only: rhea cannot write them from numbers. Below 2^53 +
 * 2^32 it also reads them wrong, as the double nearest to them, and above that as 8 bytes. So its bytes are asked: a
 * message of another format than 0 it hands on undecoded.
 */
const wideNumbers = toRhea.map(way => ({
  name: `${way.path}/64-bit-numbers`,
  async run(t) {
    const numbers = {
      ulong53: [ulong(2n ** 53n + 1n), '800020000000000001'],
      ulongMax: [ulong(2n ** 64n - 1n), '80ffffffffffffffff'],
      long53: [long(-(2n ** 53n) - 1n), '81ffdfffffffffffff'],
      longMin: [long(-(2n ** 63n)), '818000000000000000'],
      longMax: [2n ** 63n - 1n, '817fffffffffffffff'],
    }
    const { ours, theirs } = await linked(t, way)
    const cross = crossing(t, way, ours, theirs)
    const init = {
      properties: { messageId: 2n ** 64n - 1n },
      applicationProperties: Object.fromEntries(Object.entries(numbers).map(([name, [value]]) => [name, value])),
      body: 'wide',
    }
    const raw = (await cross(init, { messageFormat: 1 })).toString('hex')
    for (const [name, [, bytes]] of Object.entries(numbers))
      assert.ok(raw.includes(Buffer.from(name).toString('hex') + bytes), `${name} on the wire`)

    const seen = await cross(init)
    assert.deepEqual(seen.message_id, Buffer.alloc(8, 0xff))
    const { ulongMax, longMin, longMax } = seen.application_properties
    assert.equal(ulongMax.toString('hex'), 'ffffffffffffffff')
    assert.equal(longMin.toString('hex'), '8000000000000000')
    assert.equal(longMax.toString('hex'), '7fffffffffffffff')
  },
}))

/** Every type of message-id. §3.2.11–14 */
const messageIds = [
  ...toRhea.map(way => ({
    name: `${way.path}/message-ids`,
    async run(t) {
      const { ours, theirs } = await linked(t, way)
      const cross = crossing(t, way, ours, theirs)
      for (const [messageId, expected] of [
        ['text', 'text'],
        [7n, 7],
        [2n ** 40n, 2 ** 40],
        [uuid, uuidBytes],
        [Uint8Array.of(1, 2, 3), Buffer.of(1, 2, 3)],
      ]) {
        const seen = await cross({ properties: { messageId, correlationId: messageId }, body: 'id' })
        assert.deepEqual(seen.message_id, expected)
        assert.deepEqual(seen.correlation_id, expected)
      }
    },
  })),
  ...toUs.map(way => ({
    name: `${way.path}/message-ids`,
    async run(t) {
      const { ours, theirs } = await linked(t, way)
      const cross = crossing(t, way, ours, theirs)
      for (const [id, expected] of [
        ['text', 'text'],
        [7, 7n],
        [2 ** 40, 2n ** 40n],
        [uuidBytes, uuid],
        [types.wrap_binary(Buffer.of(1, 2, 3)), Uint8Array.of(1, 2, 3)],
      ]) {
        const { properties } = await cross({ message_id: id, correlation_id: id, body: 'id' })
        assert.deepEqual(plain(properties.messageId), plain(expected))
        assert.deepEqual(plain(properties.correlationId), plain(expected))
      }
    },
  })),
]

/** Every kind of body. §3.2.6–8 */
const bodies = [
  ...toRhea.map(way => ({
    name: `${way.path}/bodies`,
    async run(t) {
      const { ours, theirs } = await linked(t, way)
      const cross = crossing(t, way, ours, theirs)
      const map = new AmqpMap([
        ['text', text],
        ['list', [1, [2, null]]],
        ['map', new Map([['inner', true]])],
        [symbol('symbol key'), 1.5],
      ])
      assert.deepEqual((await cross({ body: { value: map } })).body, {
        text,
        list: [1, [2, null]],
        map: { inner: true },
        'symbol key': 1.5,
      })
      for (const [value, expected] of [
        [null, null],
        [true, true],
        [-7, -7],
        ['', ''],
        [[], []],
        [Uint8Array.of(7), Buffer.of(7)],
      ])
        assert.deepEqual((await cross({ body: { value } })).body, expected)
      const two = (await cross({ body: { data: [Uint8Array.of(1), Uint8Array.of(2, 3)] } })).body
      assert.equal(two.typecode, 0x75)
      assert.deepEqual(two.content, [Buffer.of(1), Buffer.of(2, 3)])
      const lists = (await cross({ body: { sequence: [[1, 'a'], [null]] } })).body
      assert.equal(lists.typecode, 0x76)
      assert.deepEqual(lists.content, [[1, 'a'], [null]])
    },
  })),
  ...toUs.map(way => ({
    name: `${way.path}/bodies`,
    async run(t) {
      const { ours, theirs } = await linked(t, way)
      const cross = crossing(t, way, ours, theirs)
      const { value: map } = (await cross({ body: { text, list: [1, [2, null]], map: { inner: true } } })).body
      assert.ok(map instanceof AmqpMap)
      assert.equal(map.get('text'), text)
      assert.deepEqual(map.get('list'), [1, [2, null]])
      assert.equal(map.get('map').get('inner'), true)
      for (const [value, expected] of [
        [null, null],
        [true, true],
        [-7, -7],
        [types.wrap_symbol('sym'), new AmqpSymbol('sym')],
        [[], []],
        [types.wrap_array([1, 2, 3], 0x70), [1, 2, 3]],
      ]) {
        const { value: have } = (await cross({ body: value })).body
        assert.deepEqual(have?.type === 'array' ? have.value.elements : have, expected)
      }
      const two = (await cross({ body: sections.data_sections([Buffer.of(1), Buffer.of(2, 3)]) })).body
      assert.deepEqual(two.data.map(plain), [Buffer.of(1), Buffer.of(2, 3)])
      const lists = (await cross({ body: sections.sequence_sections([[1, 'a'], [null]]) })).body
      assert.deepEqual(lists, { sequence: [[1, 'a'], [null]] })
    },
  })),
]

export const messageCases = [
  ...everySection,
  ...misplacedFooter,
  ...everyType,
  ...wideNumbers,
  ...messageIds,
  ...bodies,
]
