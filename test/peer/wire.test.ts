import { describe, expect, test } from 'vitest'
import { fromJson, loadVectors } from '../vectors/load.ts'
import * as composite from './composites.ts'
import * as wire from './wire.ts'
import { amqpHeader, decode, encode, frame, fromHex, nul, parseFrames, saslHeader, toHex } from './wire.ts'

describe.each(['primitives', 'arrays', 'composites'] as const)('%s.json', file => {
  test.each(loadVectors(file))('$section $name', ({ bytes, value: json, canonical }) => {
    const value = fromJson(json)
    expect(decode(bytes)).toEqual({ value, end: bytes.length })
    expect(toHex(encode(value)) === toHex(bytes)).toBe(canonical)
    expect(decode(encode(value)).value).toEqual(value)
    for (let length = 0; length < bytes.length; length++) expect(() => decode(bytes.subarray(0, length))).toThrow()
  })
})

describe('frames.json', () => {
  test.each(loadVectors('frames'))(
    '$section $name',
    ({ bytes, channel, type, performative: json, payload, canonical }) => {
      const performative = json && fromJson(json)
      const { frames, rest } = parseFrames(bytes)
      const bytesOfPayload = fromHex(payload)
      expect(frames).toEqual([{ channel, type, extended: expect.any(String), performative, payload: bytesOfPayload }])
      expect(rest).toHaveLength(0)
      expect(toHex(frame(channel, performative ?? undefined, bytesOfPayload, type)) === toHex(bytes)).toBe(canonical)
      if (performative) expect(composite.conforms(performative)).toBe(true)
      for (let length = 0; length < bytes.length; length++) {
        expect(parseFrames(bytes.subarray(0, length))).toEqual({ frames: [], rest: bytes.subarray(0, length) })
      }
    },
  )

  test('all of them in one stream', () => {
    const vectors = loadVectors('frames')
    const { frames, rest } = parseFrames(wire.concat(...vectors.map(({ bytes }) => bytes), fromHex('0000')))
    expect(frames.map(({ channel }) => channel)).toEqual(vectors.map(({ channel }) => channel))
    expect(toHex(rest)).toBe('0000')
  })
})

describe('messages.json', () => {
  test.each(loadVectors('messages'))('$section $name', ({ bytes, sections: json, canonical }) => {
    const sections = json.map(({ name, value }) => ({ name, value: fromJson(value) }))
    expect(composite.parseMessage(bytes)).toEqual(sections)
    expect(faultOf(bytes)).toBeUndefined()
    const written = sections.map(({ name, value }) => encode(described(0x70n + BigInt(order.indexOf(name)), value)))
    expect(toHex(wire.concat(...written)) === toHex(bytes)).toBe(canonical)
  })
})

describe('sasl.json', () => {
  test.each(loadVectors('sasl'))('$section $name', ({ bytes, steps }) => {
    expect(toHex(bytes)).toBe(steps.map(step => toHex(step.bytes)).join(''))
    for (const step of steps) {
      if (step.value === null) expect([toHex(amqpHeader), toHex(saslHeader)]).toContain(toHex(step.bytes))
      else expect(toHex(frame(0, fromJson(step.value), undefined, 1))).toBe(toHex(step.bytes))
      if (step.value !== null) expect(parseFrames(step.bytes).frames[0]?.performative).toEqual(fromJson(step.value))
    }
  })
})

describe('bad-input.json', () => {
  test.each(loadVectors('bad-input'))('$section $name', ({ bytes }) => {
    expect(() => decode(bytes)).toThrow()
  })

  test('every constructor is either decoded by a good vector or refused by a bad one', () => {
    const good = new Set(loadVectors('primitives').map(({ bytes }) => bytes[0]))
    good.add(0xe0).add(0xf0)
    const refused = loadVectors('bad-input').filter(({ name }) => name.startsWith('unknown constructor'))
    const codes = [...good, ...refused.map(({ bytes }) => bytes[0])]
    expect(codes.sort((a = 0, b = 0) => a - b)).toEqual(Array.from({ length: 256 }, (_, code) => code))
  })
})

describe('bad-frames.json', () => {
  test.each(loadVectors('bad-frames'))('$section $name', ({ bytes }) => {
    expect(() => {
      for (const { type, performative } of parseFrames(bytes).frames) {
        if (!performative || !composite.conforms(performative)) throw new Error('not a sound performative')
        const { name = '' } = composite.read(performative) ?? {}
        const performatives = /^(open|begin|attach|flow|transfer|disposition|detach|end|close)$/
        if (!(type === 1 ? /^sasl/ : performatives).test(name)) throw new Error(`${name} in a frame of type ${type}`)
      }
    }).toThrow()
  })
})

describe('bad-messages.json', () => {
  test.each(loadVectors('bad-messages'))('$section $name', ({ bytes }) => {
    expect(faultOf(bytes)).toBeDefined()
  })
})

const order = [
  'header',
  'delivery-annotations',
  'message-annotations',
  'properties',
  'application-properties',
  'data',
  'amqp-sequence',
  'amqp-value',
  'footer',
]

/** What is wrong with a message (§3.2), if anything. */
function faultOf(bytes: Uint8Array): string | undefined {
  try {
    const sections = composite.parseMessage(bytes)
    for (const [i, { name, value }] of sections.entries()) {
      const previous = sections[i - 1]?.name ?? ''
      const many = name === previous && (name === 'data' || name === 'amqp-sequence')
      const bodies = [previous, name].filter(name => /data|sequence|value/.test(name)).length
      if (!many && (bodies === 2 || order.indexOf(name) <= order.indexOf(previous))) return `${name} after ${previous}`
      if (!sectionHolds(name, value)) return `${name} holds ${value.t}`
    }
    return undefined
  } catch (error) {
    return String(error)
  }
}

function sectionHolds(name: string, value: wire.Wire): boolean {
  const keys = value.t === 'map' ? value.v.map(([key]) => key.t) : []
  const simple = value.t === 'map' && value.v.every(([, { t }]) => !['list', 'map', 'array', 'described'].includes(t))
  if (name === 'header') return composite.conforms(described(0x70n, value))
  if (name === 'properties') return composite.conforms(described(0x73n, value))
  if (name === 'application-properties') return simple && keys.every(t => t === 'string')
  if (name === 'data') return value.t === 'binary'
  if (name === 'amqp-sequence') return value.t === 'list'
  return name === 'amqp-value' || (value.t === 'map' && keys.every(t => t === 'symbol' || t === 'ulong'))
}

function described(code: bigint, value: wire.Wire): wire.Wire {
  return { t: 'described', v: { descriptor: { t: 'ulong', v: code }, value } }
}

describe('encode refuses what its type cannot hold', () => {
  const values: wire.Wire[] = [
    { t: 'ubyte', v: 256 },
    { t: 'ushort', v: -1 },
    { t: 'uint', v: 2 ** 32 },
    { t: 'ulong', v: 2n ** 64n },
    { t: 'byte', v: 128 },
    { t: 'short', v: -32_769 },
    { t: 'int', v: 2 ** 31 },
    { t: 'long', v: -(2n ** 63n) - 1n },
    { t: 'char', v: 'ab' },
    { t: 'char', v: '\ud800' },
    { t: 'string', v: 'a\ud800' },
    { t: 'symbol', v: 'é' },
    { t: 'uuid', v: '00' },
    { t: 'decimal32', v: '0000000000' },
    { t: 'array', v: { of: 'int', descriptors: [], elements: [{ t: 'uint', v: 1 }] } },
  ]
  test.each(values)('$t $v', value => {
    expect(() => encode(value)).toThrow()
  })
})

describe('builders', () => {
  const byName = new Map(loadVectors('composites').map(({ name, bytes }) => [name, toHex(bytes)]))
  const cases: [string, wire.Wire][] = [
    ['open, minimal', composite.open({ containerId: 'c1' })],
    [
      'open, all fields',
      composite.open({
        containerId: 'c1',
        hostname: 'host',
        maxFrameSize: 16_384,
        channelMax: 65_535,
        idleTimeOut: 30_000,
        outgoingLocales: 'en-US',
        incomingLocales: ['de-DE', 'en-US'],
        offeredCapabilities: ['x-a', 'b'],
        desiredCapabilities: 'x-c',
        properties: { product: 'fairle' },
      }),
    ],
    ['begin, minimal', composite.begin({ nextOutgoingId: 0, incomingWindow: 1, outgoingWindow: 1 })],
    [
      'attach, all fields',
      composite.attach({
        name: 'l',
        handle: 7,
        role: 'sender',
        sndSettleMode: 'mixed',
        rcvSettleMode: 'second',
        source: { address: 's' },
        target: { address: 't' },
        unsettled: {
          t: 'map',
          v: [
            [{ t: 'binary', v: '01' }, composite.accepted()],
            [{ t: 'binary', v: '02' }, composite.received({ sectionNumber: 0, sectionOffset: 9 })],
          ],
        },
        incompleteUnsettled: true,
        initialDeliveryCount: 4_294_967_295,
        maxMessageSize: 1_048_576n,
        offeredCapabilities: 'x-a',
        desiredCapabilities: ['x-b', 'c'],
        properties: { 'x-p': 'v' },
      }),
    ],
    ['attach, minimal: a receiver', composite.attach({ name: 'l', handle: 0, role: 'receiver' })],
    ['flow before the begin has arrived', composite.flow({ incomingWindow: 5, nextOutgoingId: 0, outgoingWindow: 5 })],
    [
      'transfer, first or only',
      composite.transfer({ handle: 0, deliveryId: 0, deliveryTag: fromHex('00000001'), messageFormat: 0 }),
    ],
    [
      'disposition accepting one',
      composite.disposition({ role: true, first: 0, settled: true, state: composite.accepted() }),
    ],
    [
      'detach, all fields',
      composite.detach({ handle: 0, closed: true, error: { condition: 'amqp:link:detach-forced', description: 'x' } }),
    ],
    ['end, minimal', composite.end()],
    [
      'end, null error written',
      { t: 'described', v: { descriptor: { t: 'ulong', v: 23n }, value: { t: 'list', v: [nul] } } },
    ],
    ['close, minimal', composite.close()],
    ['sasl-mechanisms, array of one', composite.saslMechanisms({ saslServerMechanisms: ['PLAIN'] })],
    ['sasl-outcome sys', composite.saslOutcome({ code: 2 })],
    ['modified, undeliverable here', composite.modified({ undeliverableHere: true })],
    ['target, minimal', composite.target()],
    [
      'transactional-state with an outcome',
      composite.transactionalState({ txnId: '07', outcome: composite.accepted() }),
    ],
  ]
  test.each(cases)('%s', (name, value) => {
    expect(toHex(encode(value))).toBe(byName.get(name))
    expect(composite.conforms(value)).toBe(true)
  })

  test('a field the composite does not have', () => {
    expect(() => composite.open({ containerID: 'c1' })).toThrow('open has no field containerID')
  })

  test('a wire value is written as it is, right or wrong', () => {
    const value = composite.open({ containerId: { t: 'int', v: 1 } })
    expect(composite.read(value)).toEqual({ name: 'open', fields: { containerId: { t: 'int', v: 1 } } })
    expect(composite.conforms(value)).toBe(false)
  })
})
