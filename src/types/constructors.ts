/**
 * Format codes: the first byte of every value. §1.2 §1.6
 *
 * Elsewhere a code is written as a literal in a `switch`, with its name behind it; this file is the dictionary.
 */

import type { AmqpTypeName } from './values.ts'

/** Format code → the type it belongs to. Codes that are absent are not part of AMQP 1.0. */
export const typeOfCode: Readonly<Record<number, AmqpTypeName>> = {
  0: 'described',
  64: 'null',
  65: 'boolean', // true
  66: 'boolean', // false
  67: 'uint', // uint0
  68: 'ulong', // ulong0
  69: 'list', // list0
  80: 'ubyte',
  81: 'byte',
  82: 'uint', // smalluint
  83: 'ulong', // smallulong
  84: 'int', // smallint
  85: 'long', // smalllong
  86: 'boolean',
  96: 'ushort',
  97: 'short',
  112: 'uint',
  113: 'int',
  114: 'float',
  115: 'char',
  116: 'decimal32',
  128: 'ulong',
  129: 'long',
  130: 'double',
  131: 'timestamp',
  132: 'decimal64',
  148: 'decimal128',
  152: 'uuid',
  160: 'binary', // vbin8
  161: 'string', // str8-utf8
  163: 'symbol', // sym8
  176: 'binary', // vbin32
  177: 'string', // str32-utf8
  179: 'symbol', // sym32
  192: 'list', // list8
  193: 'map', // map8
  208: 'list', // list32
  209: 'map', // map32
  224: 'array', // array8
  240: 'array', // array32
}

/** Bytes that follow each fixed-width code; −1 for variable, compound, array and unknown ones. §1.2 */
export function fixedWidth(code: number): number {
  if (typeOfCode[code] === undefined || code === 0) return -1
  const category = code >> 4
  return category >= 4 && category <= 9 ? ([0, 1, 2, 4, 8, 16][category - 4] as number) : -1
}
