/** Frames as a person reads them: every kind of value, and no secret. */

import { describe, expect, test } from 'vitest'
import { formatFrame } from '../../src/client/diagnostics/trace-format.ts'
import type { TracedFrame } from '../../src/client/options.ts'
import { AmqpMap } from '../../src/types/map.ts'
import { described, symbol, type Typed, uint, ulong } from '../../src/types/values.ts'

const traced = (body: unknown, rest: Partial<TracedFrame> = {}): string =>
  formatFrame({ direction: 'out', layer: 'amqp', channel: 3, body, payload: 0, ...rest })

/** A value as it stands in the properties of an open. */
const shown = (value: unknown): string =>
  traced({ type: 'open', properties: new AmqpMap([[symbol('k'), value as Typed]]) })
    .replace('[3] open(properties={k: ', '')
    .replace(/\}\)$/, '')

describe('a frame', () => {
  test('by its layer: headers, SASL, channels; empty ones; payload', () => {
    expect(traced('AMQP 0 1.0.0', { layer: 'header' })).toBe('AMQP 0 1.0.0')
    expect(traced(undefined, { channel: 0 })).toBe('[0] empty frame')
    expect(traced({ type: 'close' }, { payload: 12 })).toBe('[3] close() + 12 bytes')
    expect(traced({ type: 'sasl-init', mechanism: 'PLAIN', hostname: undefined }, { layer: 'sasl' })).toBe(
      '[sasl] sasl-init(mechanism=PLAIN)',
    )
  })

  test('§1.4 fields in the standard’s words; what is absent or means nothing is left out', () => {
    expect(
      traced({ type: 'open', containerId: 'c "1"', hostname: undefined, maxFrameSize: 0xffffffff, channelMax: 9 }),
    ).toBe('[3] open(container-id="c \\"1\\"", channel-max=9)')
    expect(
      traced({
        type: 'attach',
        name: 'l',
        handle: 0,
        role: 'sender',
        source: { type: 'source', address: 'a', capabilities: ['queue', 'shared'], outcomes: [] },
        target: { type: 'target', dynamic: false, durable: 'none' },
        unsettled: null,
      }),
    ).toBe(
      '[3] attach(name="l", handle=0, role=sender, source=source(address="a", capabilities=[queue, shared]), target=target())',
    )
    expect(traced({ type: 'detach', handle: 0, error: { type: 'error', condition: 'a:b', description: 'why' } })).toBe(
      '[3] detach(handle=0, error=error(condition=a:b, description="why"))',
    )
  })

  test('characters that a terminal would obey are shown, not sent', () => {
    const evil = '\u001b[2J\u009b1m\u007f\n\u202e'
    const error = { type: 'error', condition: evil, description: evil, info: new AmqpMap([[symbol(`k${evil}`), evil]]) }
    const text = traced({ type: 'close', error })
    expect(text).not.toMatch(/[\p{Cc}\p{Cf}]/u)
    expect(text).toContain('condition=\\u{1b}[2J\\u{9b}1m\\u{7f}\\u{a}\\u{202e}')
  })

  test('of a kind that is not known here', () => {
    expect(traced({ type: 'other', someField: 1 })).toBe('[3] other(some-field=1)')
  })

  test.each(['initialResponse', 'response', 'challenge', 'additionalData'])(
    '%s is not shown, whatever it is',
    field => {
      const secret = new Uint8Array(Buffer.from('hunter2'))
      expect(traced({ type: 'sasl-init', [field]: secret }, { layer: 'sasl' })).toMatch(/=<7 bytes, not shown>\)$/)
      expect(traced({ type: 'sasl-init', [field]: 'hunter2' }, { layer: 'sasl' })).toMatch(/=<not shown>\)$/)
    },
  )
})

describe('a value', () => {
  test.each([
    ['text', 'a "b"', '"a \\"b\\""'],
    ['a symbol', symbol('s'), 's'],
    ['a number', 5, '5'],
    ['a bigint', 5n, '5'],
    ['a boolean', true, 'true'],
    ['null', null, 'null'],
    ['a typed value', uint(7), '7'],
    ['a described value', described(ulong(0x24n), [1]), '@36 [1]'],
    ['an instant', new Date(0), '1970-01-01T00:00:00.000Z'],
    ['a map', new AmqpMap([['a', 'b'], [symbol('c'), 1]]), '{a: "b", c: 1}'], // biome-ignore format: one line
    ['a Map', new Map([['a', 1]]), '{a: 1}'],
    ['a list', [symbol('a'), 'b'], '[a, b]'],
    ['an outcome', { type: 'rejected', error: undefined }, 'rejected()'],
    ['few bytes', Uint8Array.of(0, 15, 255), '000fff'],
    ['sixteen bytes', new Uint8Array(16), '00'.repeat(16)],
    ['many bytes', new Uint8Array(17), `${'00'.repeat(16)}… (17 bytes)`],
  ])('%s', (_what, value, text) => {
    expect(shown(value)).toBe(text)
  })
})
