/** §2.3: the layout of frames, and what is in them: right, wrong, and hostile. */

import { describe, expect, test } from 'vitest'
import { begin, build } from '../peer/composites.ts'
import { any, failing } from '../peer/script.ts'
import { concat, encode, frame, fromHex, toHex, type Wire } from '../peer/wire.ts'
import {
  begun,
  opened,
  payloadOf,
  type Scenario,
  scenario,
  sides,
  withReceiver,
  withSender,
} from '../support/scenario.ts'

const FRAMING = 'amqp:connection:framing-error'
const DECODE = 'amqp:decode-error'

/** The connection is closed with the condition, and nothing further is read. */
function closes(s: Scenario, condition: string): void {
  s.peer.expectClose({ error: failing(condition) }).finished()
  expect(s.event('protocol.error').error).toMatchObject({ condition, scope: 'connection' })
  expect(s.event('connection.closed')).toMatchObject({ by: 'local', error: { code: 'ERR_AMQP_PROTOCOL', condition } })
}

/** A described list with a descriptor of its own, for performatives that do not exist. */
const described = (descriptor: Wire, value: Wire): Wire => ({ t: 'described', v: { descriptor, value } })
const code = (v: number): Wire => ({ t: 'ulong', v: BigInt(v) })
const list: Wire = { t: 'list', v: [] }

/** A frame whose body is these bytes. */
const raw = (hex: string, channel = 0): Uint8Array => frame(channel, undefined, fromHex(hex))

describe.each(sides)('§2.3.1 frame layout (%s)', role => {
  test.each([
    ['size 0', '00000000 02000000'],
    ['size 4', '00000004 02000000'],
    ['size 7', '00000007 02000000'],
    ['doff 0', '00000008 00000000'],
    ['doff 1', '00000008 01000000'],
    ['doff beyond the frame', '00000008 03000000'],
    ['doff 255 in a small frame', '00000010 ff000000 0000000000000000'],
    ['type 2', '00000008 02020000'],
    ['a SASL frame', '00000008 02010000'],
    ['a protocol header in place of a frame', '414d5150 00010000'],
    ['2 GiB announced', '7fffffff 02000000'],
    ['4 GiB announced', 'ffffffff 02000000'],
  ])('§2.3.1 %s: framing-error, from the first eight bytes on', (_name, bytes) => {
    const s = opened(scenario({ role }))
    s.peer.sendRaw(bytes)
    closes(s, FRAMING)
    expect(s.engine.isDone).toBe(true)
    // What follows is not even looked at.
    s.peer.sendRaw(new Uint8Array(100_000)).sendClose().finished()
  })

  test('§2.3.1 the same when the eight bytes come one by one', () => {
    const s = opened(scenario({ role }))
    s.peer.cut = bytes => Array.from(bytes, byte => Uint8Array.of(byte))
    s.peer.sendRaw('00000008 01000000')
    closes(s, FRAMING)
  })

  test('§2.3.2 the extended header is ignored', () => {
    const s = opened(scenario({ role }))
    const body = encode(begin({ nextOutgoingId: 0, incomingWindow: 1, outgoingWindow: 1 }))
    const bytes = concat(fromHex('00000000 04 00 0000 deadbeef cafebabe'), body)
    new DataView(bytes.buffer).setUint32(0, bytes.length)
    s.peer.sendRaw(bytes)
    s.event('session.begun')
    s.peer.finished()
  })

  test('§2.4.5 empty frames mean nothing, on whatever channel', () => {
    const s = opened(scenario({ role }))
    s.peer.sendEmpty().sendEmpty(7).sendEmpty(65_535).sendRaw('0000000c 03000000 00000000').finished()
    expect(s.events()).toEqual([])
  })

  test('§2.7.1 a frame as large as we have promised to take, and one byte more', () => {
    const { s, peer } = withReceiver(role, { open: { maxFrameSize: 1000 }, credit: 2 })
    const header = encode(build('transfer', { handle: 0, deliveryId: 0, deliveryTag: Uint8Array.of(1) })).length + 8
    const payload = new Uint8Array(1000 - header).fill(7)
    peer.sendTransfer({ deliveryId: 0, deliveryTag: Uint8Array.of(1) }, payload)
    expect(payloadOf(s.deliveries()[0])).toEqual(payload)
    peer.sendTransfer({ deliveryId: 1, deliveryTag: Uint8Array.of(2) }, new Uint8Array(1001 - header))
    closes(s, FRAMING)
    expect(s.deliveries()).toEqual([])
  })

  test('§2.7.1 a peer that takes less than 512 bytes is taken to take 512, and large messages end', () => {
    const { s, peer, sender } = withSender(role, { open: { maxFrameSize: 32 }, credit: 1 })
    const payload = Uint8Array.from({ length: 100 }, (_, i) => i)
    sender.transfer(payload)
    peer
      .expectTransfer({ handle: 0, deliveryId: 0, deliveryTag: new Uint8Array(4), messageFormat: 0 }, payload)
      .respondDisposition()
    expect(s.outcomes()).toHaveLength(1)
    peer.sendFlow({ handle: 0, deliveryCount: 1, linkCredit: 1 })
    sender.transfer(new Uint8Array(10_000).fill(1), { deliveryTag: new Uint8Array(32) })
    const frames = peer.all()
    expect(frames.length).toBeGreaterThan(19)
    expect(concat(...frames.map(({ payload }) => payload))).toEqual(new Uint8Array(10_000).fill(1))
  })

  test.each([512, 513, 1000, 65_536])(
    '§2.7.1 no frame is larger than the peer’s max-frame-size of %i',
    maxFrameSize => {
      // The script fails at the first that is.
      const { peer, sender } = withSender(role, { open: { maxFrameSize }, credit: 3 })
      const size = 200_000
      sender.transfer(new Uint8Array(size).fill(5))
      sender.transfer([new Uint8Array(size).fill(6), new Uint8Array(10).fill(7)])
      sender.transfer(new Uint8Array(size / 2).fill(8), { settled: true, deliveryTag: new Uint8Array(32) })
      const frames = peer.all()
      expect(frames.reduce((sum, { payload }) => sum + payload.length, 0)).toBe(2.5 * size + 10)
      expect(frames.every(({ name }) => name === 'transfer')).toBe(true)
      expect(frames.filter(({ fields }) => !fields.more)).toHaveLength(3)
    },
  )
})

describe('§2.7.1 max-frame-size, announced in answer to an open', () => {
  test('§2.7.1 a larger one than usual is taken', () => {
    const s = opened(scenario({ role: 'acceptor' }), { maxFrameSize: 1 << 20 })
    const session = begun(s)
    s.peer.sendAttach({ role: 'sender' })
    const { link } = s.event('link.attached')
    link.attach({ source: { address: 'a' }, target: { address: 'b' } })
    if (link.role === 'receiver') link.flow(1)
    s.peer.sendTransfer({ deliveryId: 0, deliveryTag: Uint8Array.of(1) }, new Uint8Array(500_000))
    expect(s.deliveries()[0]?.size).toBe(500_000)
    expect(session.state).toBe('MAPPED')
  })

  test('§2.7.1 a smaller one than usual is enforced', () => {
    const s = opened(scenario({ role: 'acceptor' }), { maxFrameSize: 512 })
    s.peer.sendRaw(concat(fromHex('00000201 02000000')))
    closes(s, FRAMING)
  })
})

describe.each(sides)('§2.3.2 the body of a frame (%s)', role => {
  test.each<[string, Uint8Array]>([
    ['not a described value', frame(0, { t: 'ulong', v: 0x10n })],
    ['a described value cut off', raw('00 53')],
    ['an unknown performative', frame(0, described(code(0x99), list))],
    ['an unknown symbolic performative', frame(0, described({ t: 'symbol', v: 'amqp:no:list' }, list))],
    ['a descriptor of another domain', frame(0, described({ t: 'ulong', v: 0x0000_0001_0000_0011n }, list))],
    ['a descriptor that is a string', frame(0, described({ t: 'string', v: 'amqp:begin:list' }, list))],
    ['a SASL body', frame(0, build('saslInit', { mechanism: 'PLAIN' }))],
    ['a message section', frame(0, build('header', {}))],
    ['a delivery state', frame(0, build('accepted'))],
    ['begin as a map', raw('00 53 11 c1 01 00')],
    ['begin as a null', raw('00 53 11 40')],
    ['begin without its mandatory fields', frame(0, described(code(0x11), list))],
    ['begin with a null for a mandatory field', raw('00 53 11 c0 05 04 40 40 43 43')],
    ['begin with a string for a uint', raw('00 53 11 c0 08 04 40 a1 01 61 43 43')],
    ['begin with 2^32', raw('00 53 11 c0 0d 04 40 80 00000001 00000000 43 43')],
    ['begin with fields that it does not have', raw('00 53 11 c0 0a 09 40 43 43 43 40 40 40 40 40')],
    ['begin with a size that is too small', raw('00 53 11 c0 03 04 40 43 43 43')],
    ['begin with a size that is too large', raw('00 53 11 c0 09 04 40 43 43 43')],
    ['begin with a count beyond its bytes', raw('00 53 11 c0 05 09 40 43 43 43')],
    ['bytes behind begin', frame(0, begin({ nextOutgoingId: 0, incomingWindow: 0, outgoingWindow: 0 }), fromHex('00'))],
    ['an unknown constructor', raw('00 53 11 c0 05 04 40 01 43 43')],
    ['ten million nulls in ten bytes', raw('00 53 11 c0 12 08 40 43 43 43 40 40 40 f0 00000005 00989680 40')],
    ['four billion nulls', raw('00 53 11 c0 12 08 40 43 43 43 40 40 40 f0 00000005 ffffffff 40')],
    ['properties whose keys are strings', raw('00 53 11 c0 10 08 40 43 43 43 40 40 40 c1 06 02 a1 01 61 54 01')],
    ['properties with an odd count', raw('00 53 11 c0 0d 08 40 43 43 43 40 40 40 c1 03 01 a3 00')],
    ['properties that are a list', raw('00 53 11 c0 09 08 40 43 43 43 40 40 40 45')],
    ['five thousand descriptors', raw('00'.repeat(5000))],
    ['lists three thousand deep', nested(3000)],
    ['lists that claim millions, nested 16 deep', claims(16)],
    ['a symbol that is not ASCII', raw('00 a3 02 c3a9 45')],
    ['a string that is not UTF-8', frame(0, described(code(0x12), { t: 'list', v: [] }), fromHex('a1 01 ff'))],
  ])('§2.3.2 §2.8.15 %s: decode-error', (_name, bytes) => {
    const s = opened(scenario({ role }))
    s.peer.sendRaw(bytes)
    closes(s, DECODE)
  })

  test('§1.4 a symbolic descriptor does as well', () => {
    const s = opened(scenario({ role }))
    s.peer.sendRaw(frame(0, described({ t: 'symbol', v: 'amqp:close:list' }, list)))
    s.peer.expectClose().finished()
  })

  test('§1.4 wide encodings of a frame that could be narrow', () => {
    const s = opened(scenario({ role }))
    // begin { null, uint 0, uint 1, uint 2 } as list32, its code as a full ulong, its uints in four bytes.
    s.peer.sendRaw(raw('00 80 0000000000000011 d0 00000014 00000004 40 70 00000000 70 00000001 70 00000002'))
    expect(s.event('session.begun').begin).toMatchObject({ nextOutgoingId: 0, incomingWindow: 1, outgoingWindow: 2 })
  })

  test('§2.3 a conversation is understood however it is cut', () => {
    const talk = (cut: (bytes: Uint8Array) => Uint8Array[]) => {
      const { s, peer, receiver } = withReceiver(role, { credit: 3 })
      peer.cut = cut
      const payload = Uint8Array.from({ length: 300 }, (_, i) => i)
      peer.together(one => {
        one.sendTransfer({ deliveryId: 0, deliveryTag: Uint8Array.of(1), more: true }, payload.subarray(0, 100))
        one.sendTransfer({ more: true }, payload.subarray(100, 250))
        one.sendTransfer({}, payload.subarray(250))
        one.sendTransfer({ deliveryId: 1, deliveryTag: Uint8Array.of(2), settled: true })
        one.sendFlow({ handle: 0, deliveryCount: 2, linkCredit: 1, available: 9 })
        one.sendTransfer({ deliveryId: 2, deliveryTag: Uint8Array.of(3) }, payload)
        one.sendDetach()
      })
      expect(receiver.state).toBe('CLOSE_RCVD')
      peer.expectDetach({ handle: 0, closed: true }).finished()
      return s.deliveries().map(delivery => [delivery.deliveryId, toHex(payloadOf(delivery))])
    }
    const whole = talk(bytes => [bytes])
    expect(whole.map(([id]) => id)).toEqual([0, 1, 2])
    for (const width of [1, 2, 3, 7, 8, 9, 64, 129]) expect(talk(bytes => slices(bytes, width))).toEqual(whole)
  })
})

describe('§2.3 before the open', () => {
  test('§2.7.1 open without container-id: decode-error, behind an open of ours', () => {
    const s = scenario({ role: 'acceptor' })
    s.peer.sendHeader().sendRaw(frame(0, described(code(0x10), list)))
    s.peer.expectHeader().expectOpen({ containerId: any, channelMax: any, maxFrameSize: any })
    closes(s, DECODE)
  })

  test('§2.7.1 open as a map: decode-error', () => {
    const s = scenario({ role: 'acceptor' })
    s.peer.sendHeader().sendRaw(raw('00 53 10 c1 02 01 41'))
    s.peer.expectHeader().expectOpen({ containerId: any, channelMax: any, maxFrameSize: any })
    closes(s, DECODE)
  })

  test('§2.4.1 more bytes than an open can reasonably have: given up', () => {
    const s = scenario({ role: 'acceptor' })
    s.peer.sendHeader().expectHeader()
    for (let i = 0; i < 40; i++)
      s.peer.sendRaw(concat(...Array.from({ length: 1000 }, () => fromHex('0000000802000000'))))
    s.peer.expectOpen({ containerId: any, channelMax: any, maxFrameSize: any })
    closes(s, 'amqp:resource-limit-exceeded')
  })
})

function slices(bytes: Uint8Array, width: number): Uint8Array[] {
  return Array.from({ length: Math.ceil(bytes.length / width) }, (_, i) => bytes.slice(i * width, (i + 1) * width))
}

/** begin with properties in which lists are nested: list32 all the way. */
function nested(depth: number): Uint8Array {
  let value: Uint8Array = fromHex('45')
  for (let i = 0; i < depth; i++) {
    const head = fromHex('d0 00000000 00000001')
    new DataView(head.buffer).setUint32(1, value.length + 4)
    value = concat(head, value)
  }
  return withProperties(value)
}

/** Lists that each claim 2^24 elements in four bytes. */
function claims(depth: number): Uint8Array {
  return withProperties(fromHex('d0 00000004 01ffffff'.repeat(depth)))
}

function withProperties(value: Uint8Array): Uint8Array {
  const map = concat(fromHex('d1 00000000 00000002 a3 01 61'), value)
  new DataView(map.buffer).setUint32(1, map.length - 5)
  const begin = concat(fromHex('00 53 11 d0 00000000 00000008 40 43 43 43 40 40 40'), map)
  new DataView(begin.buffer).setUint32(4, begin.length - 8)
  return frame(0, undefined, begin)
}
