/** Protocol headers (§2.2 §5.2 §5.3.1): read, written, compared. */

import { describe, expect, test } from 'vitest'
import {
  AMQP_ID,
  decodeHeader,
  encodeHeader,
  formatHeader,
  isSupported,
  SASL_ID,
} from '../../src/framing/protocol-header.ts'
import { amqpHeader, fromHex, saslHeader, tlsHeader, toHex } from '../peer/wire.ts'

describe('§2.2 protocol headers', () => {
  test('ours are those of version 1.0.0, new each time', () => {
    expect(toHex(encodeHeader(AMQP_ID))).toBe(toHex(amqpHeader))
    expect(toHex(encodeHeader(SASL_ID))).toBe(toHex(saslHeader))
    expect(toHex(encodeHeader(2))).toBe(toHex(tlsHeader))
    expect(encodeHeader(AMQP_ID)).not.toBe(encodeHeader(AMQP_ID))
  })

  test.each([
    ['414d515000010000', 'AMQP 0 1.0.0', true, false],
    ['414d515003010000', 'AMQP 3 1.0.0', false, true],
    ['414d515002010000', 'AMQP 2 1.0.0', false, false],
    ['414d515000010001', 'AMQP 0 1.0.1', false, false],
    ['414d515000010100', 'AMQP 0 1.1.0', false, false],
    ['414d515000020000', 'AMQP 0 2.0.0', false, false],
    ['414d515000000901', 'AMQP 0 0.9.1', false, false],
    ['414d515001010000', 'AMQP 1 1.0.0', false, false],
  ])('%s is %s', (hex, text, amqp, sasl) => {
    const header = decodeHeader(fromHex(`eeee${hex}`), 2)
    if (!header) throw new Error('not read')
    expect(formatHeader(header)).toBe(text)
    expect(isSupported(header, AMQP_ID)).toBe(amqp)
    expect(isSupported(header, SASL_ID)).toBe(sasl)
  })

  test.each(['414d515100010000', '616d717000010000', '0000000000000000', '474554202f204854'])('%s is none', hex => {
    expect(decodeHeader(fromHex(hex), 0)).toBeUndefined()
  })
})
