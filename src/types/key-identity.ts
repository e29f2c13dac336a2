/**
 * Text that stands for a map key: equal for two keys exactly when their AMQP types and values are. §1.6.23
 *
 * Its length is bounded whatever the key is: what is longer than `LONGEST` is replaced by its length and a hash. Parts
 * of compound keys carry their lengths, so that no part can pass for two.
 */

import { AmqpSymbol, Decimal, Described, Typed, Uuid } from './values.ts'

const LONGEST = 256

/** The AMQP type that a plain `number` encodes to: int, else long while it is a safe integer, else double. */
export function numberType(value: number): 'int' | 'long' | 'double' {
  if (!Number.isInteger(value) || Object.is(value, -0)) return 'double'
  if (value >= -0x80000000 && value <= 0x7fffffff) return 'int'
  return Number.isSafeInteger(value) ? 'long' : 'double'
}

/** Identifies a key. Plain numbers count as the type they encode to, plain bigints as long. */
export function keyIdentity(key: unknown): string {
  if (key === null) return 'null'
  switch (typeof key) {
    case 'string':
      return `string:${brief(key)}`
    case 'boolean':
      return `boolean:${key}`
    case 'bigint':
      return `long:${key}`
    case 'number':
      return `${numberType(key)}:${Object.is(key, -0) ? '-0' : key}`
    case 'object':
      return objectIdentity(key)
    default:
      return 'unknown'
  }
}

function objectIdentity(key: object): string {
  if (key instanceof AmqpSymbol) return `symbol:${brief(key.name)}`
  if (key instanceof Date) return `timestamp:${key.getTime()}`
  if (key instanceof Uuid) return `uuid:${key}`
  if (key instanceof Uint8Array) return `binary:${ofBytes(key)}`
  if (key instanceof Decimal) return `decimal${key.width}:${ofBytes(key.bytes)}`
  if (key instanceof Described) return compound('described', [key.descriptor, key.value])
  if (key instanceof Typed) return typedIdentity(key)
  if (Array.isArray(key)) return compound('list', key)
  if (Symbol.iterator in key) return compound('map', [...(key as Iterable<readonly unknown[]>)].flat(1))
  return 'unknown'
}

function typedIdentity({ type, value }: Typed): string {
  if (value instanceof Uint8Array) return `${type}:${ofBytes(value)}`
  if (value instanceof Uuid || value instanceof Decimal) return objectIdentity(value)
  if (type === 'described') {
    const { descriptor, value: inner } = value as { descriptor: unknown; value: unknown }
    return compound('described', [descriptor, inner])
  }
  if (type === 'array') {
    const { of, descriptors, elements } = value as { of: string; descriptors: unknown[]; elements: unknown[] }
    return compound('array', [of, descriptors, elements])
  }
  if (Array.isArray(value)) return compound(type, type === 'map' ? value.flat(1) : value)
  return `${type}:${Object.is(value, -0) ? '-0' : brief(String(value))}`
}

function compound(type: string, parts: readonly unknown[]): string {
  let text = ''
  for (const part of parts) {
    const identity = keyIdentity(part)
    text += `${identity.length}:${identity}`
  }
  return `${type}:${brief(text)}`
}

/** A text, or what stands for a long one. */
const brief = (text: string): string =>
  text.length <= LONGEST ? text : `#${text.length}:${hash(text.length, i => text.charCodeAt(i))}`

const ofBytes = (bytes: Uint8Array): string =>
  bytes.length <= LONGEST / 4 ? bytes.join() : `#${bytes.length}:${hash(bytes.length, i => bytes[i] as number)}`

/** 64 bits of two multiplicative hashes. */
function hash(length: number, at: (i: number) => number): string {
  let a = 0x811c9dc5
  let b = 0x9747b28c
  for (let i = 0; i < length; i++) {
    const unit = at(i)
    a = Math.imul(a ^ unit, 0x01000193)
    b = Math.imul(b + unit, 0x5bd1e995) ^ (b >>> 15)
  }
  return `${(a >>> 0).toString(36)}.${(b >>> 0).toString(36)}`
}
