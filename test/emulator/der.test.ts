import { describe, expect, it } from 'vitest'
import * as der from '../../src/emulator/certificates/der.ts'

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

describe('DER, ITU-T X.690', () => {
  it.each([
    [0, '3000'],
    [127, '307f'],
    [128, '308180'],
    [255, '3081ff'],
    [256, '30820100'],
    [65_536, '3083010000'],
  ])('8.1.3 a length of %i takes the shortest form', (length, prefix) => {
    const bytes = der.tlv(0x30, new Uint8Array(length))
    expect(bytes.length).toBe(length + prefix.length / 2)
    expect(hex(bytes).startsWith(prefix)).toBe(true)
  })

  it.each([
    ['8.2 BOOLEAN', der.booleanTrue(), '0101ff'],
    ['8.3 INTEGER', der.integer(0, 0x80), '02020080'],
    ['8.6 BIT STRING', der.bitString(Uint8Array.of(0x06), 1), '03020106'],
    ['8.7 OCTET STRING', der.octetString(Uint8Array.of(1, 2)), '04020102'],
    ['8.11 SET', der.setOf(der.integer(1)), '3103020101'],
    ['8.14 explicit tag', der.explicit(3, der.integer(2)), 'a303020102'],
    ['8.14 implicit tag', der.implicit(2, Uint8Array.of(0x61)), '820161'],
    ['8.19 OBJECT IDENTIFIER', der.objectIdentifier('1.2.840.10045.4.3.2'), '06082a8648ce3d040302'],
    ['8.19 OBJECT IDENTIFIER, first arc 2', der.objectIdentifier('2.5.29.17'), '0603551d11'],
    ['8.23 UTF8String', der.utf8String('é'), '0c02c3a9'],
  ])('%s', (_, bytes, expected) => {
    expect(hex(bytes)).toBe(expected)
  })

  it('RFC 5280, 4.1.2.5: UTCTime to 2049, GeneralizedTime from 2050 on', () => {
    expect(hex(der.time(new Date('2049-12-31T23:59:59.999Z')))).toBe(`170d${hex(Buffer.from('491231235959Z'))}`)
    expect(hex(der.time(new Date('2050-01-01T00:00:00Z')))).toBe(`180f${hex(Buffer.from('20500101000000Z'))}`)
  })

  it('RFC 7468: PEM in lines of 64', () => {
    const lines = der.pem('X', new Uint8Array(49)).split('\n')
    expect(lines.map(line => line.length)).toEqual([17, 64, 4, 15, 0])
  })
})
