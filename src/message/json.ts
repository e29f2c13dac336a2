/**
 * Decoded values as JSON can show them. One way only: types are lost. Binaries become hexadecimal digits, 64-bit integers
 * decimal ones; a map becomes an object, with its keys as text.
 */

import { AmqpMap } from '../types/map.ts'
import { Decimal, Described, Typed } from '../types/values.ts'

/** What `JSON.stringify` can print without loss of sight or an exception. */
export function toJson(value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString()
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Uint8Array) return hex(value)
  if (value instanceof Decimal) return hex(value.bytes)
  if (value instanceof Typed) return toJson(value.value)
  if (value instanceof AmqpMap) return mapToJson(value)
  if (Array.isArray(value)) return value.map(toJson)
  if (value instanceof Described) return { descriptor: toJson(value.descriptor), value: toJson(value.value) }
  // Date, AmqpSymbol and Uuid bring their own.
  if ('toJSON' in value) return value
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, toJson(inner)]))
}

function mapToJson(map: AmqpMap): unknown {
  const out: Record<string, unknown> = Object.create(null)
  // Key texts as the map gives them, where of two equal texts the first stands.
  for (const [name, value] of Object.entries(map.toJSON())) out[name] = toJson(value)
  return out
}

const hex = (bytes: Uint8Array): string => Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')
