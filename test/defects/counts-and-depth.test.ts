/**
 * Counts, ranges and depths by which a few bytes cost another implementation, rhea 3.0.5, seconds, gigabytes or the
 * process. Here each is refused, or done, at a cost that its bytes bound. §1.6.22–24 §2.7.6
 */

import { connect as connectSocket } from 'node:net'
import { describe, expect, test } from 'vitest'
import { connect } from '../../src/client/connect.ts'
import { sasl, saslServer } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { EncodeError } from '../../src/errors.ts'
import { decodeMessage } from '../../src/message/decode.ts'
import { encodeMessage } from '../../src/message/encode.ts'
import { decodeTyped, decodeValue } from '../../src/types/any-reader.ts'
import { encodeValue } from '../../src/types/any-writer.ts'
import { described, symbol } from '../../src/types/values.ts'
import { accepted } from '../peer/composites.ts'
import { concat, fromHex, saslHeader } from '../peer/wire.ts'
import { sides, withReceiver, withSender } from '../support/scenario.ts'
import { soon } from './soon.ts'

const decodeError = expect.objectContaining({ code: 'ERR_AMQP_DECODE' })

describe('§1.6.24 an array of nulls: a count without bytes', () => {
  const claims = [
    ['10 million', '00989680'],
    ['50 million', '02faf080'],
    ['2^32 − 1', 'ffffffff'],
  ] as const

  test.each(claims)('%s are refused at once', (_name, count) => {
    const bytes = fromHex(`f000000005${count}40`)
    expect(bytes).toHaveLength(10)
    for (const how of [decodeValue, decodeTyped]) expect(() => soon(() => how(bytes))).toThrow(decodeError)
    // So are other elements without a width, and described ones.
    for (const code of ['41', '43', '45'])
      expect(() => soon(() => decodeValue(fromHex(`f000000005${count}${code}`)))).toThrow(decodeError)
    expect(() => soon(() => decodeValue(fromHex(`f000000009${count}00a3016140`)))).toThrow(decodeError)
  })

  test.each(claims)('%s as the body of a message: the message lives, its body is refused', (_name, count) => {
    const message = soon(() => decodeMessage(fromHex(`005377f000000005${count}40`)))
    expect(() => soon(() => message.body)).toThrow(decodeError)
    expect(() => soon(() => JSON.stringify(message))).toThrow(decodeError)
    expect(message.header).toBeUndefined()
  })

  test('in a SASL frame, before authentication: that peer is dropped, the listener serves the next', async () => {
    await using listener = await listen({
      sasl: [saslServer.plain((user, password) => user === 'u' && password === 'p')],
    })
    const errors: Error[] = []
    listener.on('error', error => errors.push(error))
    const poison = concat(saslHeader, fromHex('00000015 02 01 0000 005341 f000000005ffffffff40'))
    expect(poison).toHaveLength(29)
    const socket = connectSocket({ host: '127.0.0.1', port: listener.port }).resume()
    const started = performance.now()
    const memory = process.memoryUsage().rss
    socket.write(poison)
    await new Promise<void>(resolve => socket.once('close', () => resolve()).on('error', () => {}))
    expect(performance.now() - started).toBeLessThan(2000)
    expect(process.memoryUsage().rss - memory).toBeLessThan(64 << 20)
    expect(errors).toMatchObject([{ code: 'ERR_AMQP_PROTOCOL' }])
    const { port } = listener
    await using near = await connect({
      host: '127.0.0.1',
      port,
      sasl: sasl.plain('u', 'p'),
      allowInsecureAuth: true,
    })
    expect(near.remote.containerId).not.toBe('')
  })
})

test('§1.6.22 lists that claim 2^25 − 1 elements in four bytes, nested 16 deep', () => {
  const bytes = fromHex(`${'d00000000401ffffff'.repeat(16)}40`)
  expect(bytes).toHaveLength(145)
  for (const how of [decodeValue, decodeTyped, (b: Uint8Array) => decodeMessage(concat(fromHex('005377'), b)).body])
    expect(() => soon(() => how(bytes))).toThrow(decodeError)
})

describe.each(sides)('§2.7.6 a disposition of nearly every delivery-id (%s)', role => {
  // Half of all numbers lie ahead of 0; a range beyond that runs backwards, and names nothing. §2.8.10
  test.each([
    [0, 0xffffffff, 0],
    [0, 0x7fffffff, 3],
    [0xffffffff, 0x7ffffffe, 3],
    [1, 0, 0],
    [2, 0x80000001, 1],
  ])('%i to %i of a sender costs what is unsettled', (first, last, settled) => {
    const { s, peer, sender } = withSender(role, { credit: 10 })
    for (let i = 0; i < 3; i++) sender.transfer(Uint8Array.of(i))
    expect(peer.all()).toHaveLength(3)
    soon(() => peer.sendDisposition({ first, last, settled: true, state: accepted() }))
    expect(s.outcomes()).toHaveLength(settled)
    expect(sender.session.outgoing.count).toBe(3 - settled)
    peer.finished()
  })

  test('0 to 2^32 − 1 of a receiver as well', () => {
    const { s, peer, receiver } = withReceiver(role, { credit: 10 })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: Uint8Array.of(1) }, fromHex('00537740'))
    soon(() => peer.sendDisposition({ role: 'sender', first: 0, last: 0xffffffff, settled: true }))
    expect(receiver.session.incoming.count).toBe(1)
    soon(() => peer.sendDisposition({ role: 'sender', first: 0, last: 0x7fffffff, settled: true }))
    expect(receiver.session.incoming.count).toBe(0)
    expect(s.deliveries()).toHaveLength(1)
    peer.finished()
  })
})

describe('§1.6 depth', () => {
  test('lists in lists, 3,000 levels in list8 as far as that goes, then list32', () => {
    let bytes = fromHex('45')
    for (let i = 0; i < 3000; i++) {
      const small = bytes.length < 0xff
      const head = fromHex(small ? 'c00001' : 'd00000000000000001')
      if (small) head[1] = bytes.length + 1
      else new DataView(head.buffer).setUint32(1, bytes.length + 4)
      bytes = concat(head, bytes)
    }
    for (const how of [decodeValue, decodeTyped, (b: Uint8Array) => decodeMessage(concat(fromHex('005377'), b)).body]) {
      expect(() => soon(() => how(bytes))).toThrow(decodeError)
      expect(() => how(bytes)).toThrow('nested deeper than 64 levels')
    }
  })

  test('5,000 beginnings of a described value', () => {
    const bytes = fromHex('00'.repeat(5000))
    for (const how of [decodeValue, decodeTyped, decodeMessage])
      expect(() => soon(() => how(bytes))).toThrow(decodeError)
    expect(() => decodeMessage(concat(fromHex('005377'), bytes))).toThrow(decodeError)
    // As the descriptor of the elements of an array.
    expect(() => soon(() => decodeValue(concat(fromHex('f0 00001389 00000001'), bytes, fromHex('40'))))).toThrow(
      decodeError,
    )
  })

  test('a value that holds itself has no encoding, and a deep one has none either', () => {
    const list: unknown[] = []
    list.push(list)
    const map = new Map<string, unknown>()
    map.set('self', map)
    const inner: unknown[] = []
    inner.push(described(symbol('d'), inner as never))
    for (const circular of [list, map, inner]) {
      expect(() => soon(() => encodeValue(circular as never))).toThrow(EncodeError)
      expect(() => encodeMessage({ body: { value: circular as never } })).toThrow('circular')
    }
    const init = { body: { value: null } } as { body: { value: unknown } }
    init.body.value = init
    expect(() => encodeMessage(init as never)).toThrow(EncodeError)
  })
})
