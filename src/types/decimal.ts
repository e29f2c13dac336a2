/**
 * Decimals between their bytes and text: the three interchange formats of IEEE 754-2008 in its binary integer encoding,
 * and the scientific string of General Decimal Arithmetic, which is the text that most languages print. §1.6.13–15
 *
 * A decimal is a sign, an integer coefficient and a power of ten, so 1.5 and 1.50 are two values that compare equal.
 * Text keeps the three exactly: what a width cannot hold is refused, never rounded, folded or cut. No arithmetic here.
 */

import { EncodeError } from '../errors.ts'

/** Bits of a decimal. */
export type DecimalWidth = 32 | 64 | 128

/** The parameters of a format, by the formulas of IEEE 754-2008, table 3.6. */
function formatOf(width: DecimalWidth): { digits: number; trailing: number; bias: number; maxBiased: number } {
  const digits = (9 * width) / 32 - 2
  const trailing = (15 * width) / 16 - 10
  const emax = 3 * 2 ** (width / 16 + 3)
  return { digits, trailing, bias: emax + digits - 2, maxBiased: 2 * emax - 1 }
}

/** The low `count` bits. */
const low = (bits: bigint, count: number): bigint => BigInt.asUintN(count, bits)

/**
 * The text of a decimal: `1.50`, `-0`, `1E+7`, `Infinity`, `NaN`, `sNaN12`.
 *
 * Total: a coefficient or payload that is larger than the format's digits reads as zero, and the bits that an infinity
 * leaves free are passed over, as IEEE 754-2008 §3.5.2 has it.
 *
 * @param bytes  4, 8 or 16, big-endian
 */
export function formatDecimal(bytes: Uint8Array): string {
  const width = (bytes.length * 8) as DecimalWidth
  const { digits, trailing, bias } = formatOf(width)
  let bits = 0n
  for (const byte of bytes) bits = (bits << 8n) | BigInt(byte)
  const sign = bits >> BigInt(width - 1) ? '-' : ''
  /** The five bits behind the sign. */
  const kind = Number(low(bits >> BigInt(width - 6), 5))
  if (kind === 0b11110) return `${sign}Infinity`
  if (kind === 0b11111) {
    const payload = canonical(low(bits, trailing), digits - 1)
    return `${sign}${low(bits >> BigInt(width - 7), 1) ? 'sNaN' : 'NaN'}${payload || ''}`
  }
  // Bits 11 put the exponent two places lower, and the coefficient begins with 100, which is not written.
  const large = kind >= 0b11000
  const field = large ? trailing + 1 : trailing + 3
  const coefficient = low(bits, field) | (large ? 1n << BigInt(trailing + 3) : 0n)
  const biased = Number(low(bits >> BigInt(field), width / 16 + 6))
  return sign + scientific(canonical(coefficient, digits).toString(), biased - bias)
}

const canonical = (coefficient: bigint, digits: number): bigint =>
  coefficient < 10n ** BigInt(digits) ? coefficient : 0n

/** coefficient × 10^exponent, plain where that takes at most six zeros in front and none behind. */
function scientific(coefficient: string, exponent: number): string {
  const adjusted = exponent + coefficient.length - 1
  if (exponent <= 0 && adjusted >= -6) {
    if (exponent === 0) return coefficient
    const padded = coefficient.padStart(1 - exponent, '0')
    return `${padded.slice(0, exponent)}.${padded.slice(exponent)}`
  }
  const fraction = coefficient.length > 1 ? `.${coefficient.slice(1)}` : ''
  return `${coefficient[0]}${fraction}E${adjusted < 0 ? '' : '+'}${adjusted}`
}

const NUMBER = /^([+-]?)(?=\.?\d)(\d*)(?:\.(\d*))?(?:e([+-]?\d+))?$/i
const SPECIAL = /^([+-]?)(?:(inf(?:inity)?)|(s?)nan(\d*))$/i

/**
 * The bytes of a decimal from its text: digits with a point and an exponent, `Infinity`, `NaN`, `sNaN`, a sign; in any
 * case, without spaces.
 *
 * @returns 4, 8 or 16 new bytes, big-endian, in the canonical encoding
 * @throws {EncodeError} not such a text; it has more digits than the width, leading zeros aside (7, 16 or 34), or its
 *   last digit a place beyond it (10^−101 … 10^90, 10^−398 … 10^369, 10^−6176 … 10^6111)
 */
export function parseDecimal(text: string, width: DecimalWidth): Uint8Array {
  if (width !== 32 && width !== 64 && width !== 128)
    throw new EncodeError(`a decimal is 32, 64 or 128 bits wide, not ${width}`)
  const { digits, trailing, bias, maxBiased } = formatOf(width)
  const special = SPECIAL.exec(text)
  if (special) {
    const [, sign, infinity, signalling, payload = ''] = special
    const kind = infinity ? 0b111100n : signalling ? 0b111111n : 0b111110n
    return toBytes(sign === '-', (kind << BigInt(width - 7)) | integer(payload, digits - 1, width), width)
  }
  const number = NUMBER.exec(text)
  if (!number) throw new EncodeError('not the text of a decimal')
  const [, sign, whole = '', fraction = '', exponent = '0'] = number
  const coefficient = integer(whole + fraction, digits, width)
  const power = Number(exponent) - fraction.length
  const biased = power + bias
  if (biased < 0 || biased > maxBiased)
    throw new EncodeError(
      `the last digit of a decimal${width} stands for 10^${-bias} to 10^${maxBiased - bias}, not 10^${power}`,
    )
  const large = coefficient >> BigInt(trailing + 3) !== 0n
  const bits = large
    ? (0b11n << BigInt(width - 3)) | (BigInt(biased) << BigInt(trailing + 1)) | low(coefficient, trailing + 1)
    : (BigInt(biased) << BigInt(trailing + 3)) | coefficient
  return toBytes(sign === '-', bits, width)
}

/** Digits as an integer, counted before they are converted. */
function integer(text: string, most: number, width: DecimalWidth): bigint {
  const significant = text.replace(/^0+/, '')
  if (significant.length > most)
    throw new EncodeError(`a decimal${width} has ${most} digits here, not ${significant.length}`)
  return BigInt(significant)
}

function toBytes(negative: boolean, bits: bigint, width: DecimalWidth): Uint8Array {
  let rest = negative ? bits | (1n << BigInt(width - 1)) : bits
  const bytes = new Uint8Array(width / 8)
  for (let i = bytes.length - 1; i >= 0; i--) {
    bytes[i] = Number(low(rest, 8))
    rest >>= 8n
  }
  return bytes
}
