/**
 * Text that stands for a map key: equal for two keys exactly when their AMQP types and values are. §1.6.23
 *
 * It holds the whole value, never a hash of it: whoever sends keys could find two with the same hash. Parts of compound
 * keys carry their lengths, so that no part can pass for two.
 */

import { AmqpSymbol, Decimal, Described, Typed, Uuid } from './values.ts'

/** Binaries up to this are written as numbers, which are readable. */
const READABLE = 64
/** Bytes that become text at a time. */
const STRIDE = 4096

/** The AMQP type that a plain `number` encodes to: int, else long while it is a safe integer, else double. */
export function numberType(value: number): 'int' | 'long' | 'double' {
  if (!Number.isInteger(value) || Object.is(value, -0)) return 'double'
  if (value >= -0x80000000 && value <= 0x7fffffff) return 'int'
  return Number.isSafeInteger(value) ? 'long' : 'double'
}

/**
 * Identifies a key. Plain numbers count as the type they encode to, plain bigints as long.
 *
 * @param part  identifies the parts of a compound key
 */
export function keyIdentity(key: unknown, part: (value: unknown) => string = keyIdentity): string {
  if (key === null) return 'null'
  switch (typeof key) {
    case 'string':
      return `string:${key}`
    case 'boolean':
      return `boolean:${key}`
    case 'bigint':
      return `long:${key}`
    case 'number':
      return `${numberType(key)}:${Object.is(key, -0) ? '-0' : key}`
    case 'object':
      return objectIdentity(key, part)
    default:
      return 'unknown'
  }
}

/**
 * Identities within one value, where a compound key is walked once however many keys it is part of: a number takes its
 * place in what is around it. These texts may be compared with each other only.
 */
export class KeyIdentities {
  readonly #numbers = new Map<string, number>()
  readonly #known = new Map<object, string>()

  /** As `keyIdentity`. The key must not change as long as this lives. */
  readonly of = (key: unknown): string => {
    if (typeof key !== 'object' || key === null) return keyIdentity(key)
    const known = this.#known.get(key)
    if (known !== undefined) return known
    const whole = keyIdentity(key, this.of)
    if (!COMPOUND.test(whole)) return whole
    const number = this.#numbers.get(whole) ?? this.#numbers.size
    this.#numbers.set(whole, number)
    // No other identity begins so.
    const brief = `#${number}`
    this.#known.set(key, brief)
    return brief
  }
}

const COMPOUND = /^(?:list|map|array|described):/

type PartIdentity = (value: unknown) => string

function objectIdentity(key: object, part: PartIdentity): string {
  if (key instanceof AmqpSymbol) return `symbol:${key.name}`
  if (key instanceof Date) return `timestamp:${key.getTime()}`
  if (key instanceof Uuid) return `uuid:${key}`
  if (key instanceof Uint8Array) return `binary:${ofBytes(key)}`
  if (key instanceof Decimal) return `decimal${key.width}:${ofBytes(key.bytes)}`
  if (key instanceof Described) return compound('described', [key.descriptor, key.value], part)
  if (key instanceof Typed) return typedIdentity(key, part)
  if (Array.isArray(key)) return compound('list', key, part)
  if (Symbol.iterator in key) return compound('map', [...(key as Iterable<readonly unknown[]>)].flat(1), part)
  return 'unknown'
}

function typedIdentity({ type, value }: Typed, part: PartIdentity): string {
  if (value instanceof Uint8Array) return `${type}:${ofBytes(value)}`
  if (value instanceof Uuid || value instanceof Decimal) return objectIdentity(value, part)
  if (type === 'described') {
    const { descriptor, value: inner } = value as { descriptor: unknown; value: unknown }
    return compound('described', [descriptor, inner], part)
  }
  if (type === 'array') {
    const { of, descriptors, elements } = value as { of: string; descriptors: unknown[]; elements: unknown[] }
    return compound('array', [of, descriptors, elements], part)
  }
  if (Array.isArray(value)) return compound(type, type === 'map' ? value.flat(1) : value, part)
  return `${type}:${Object.is(value, -0) ? '-0' : String(value)}`
}

function compound(type: string, parts: readonly unknown[], part: PartIdentity): string {
  let text = ''
  for (const value of parts) {
    const identity = part(value)
    text += `${identity.length}:${identity}`
  }
  return `${type}:${text}`
}

function ofBytes(bytes: Uint8Array): string {
  if (bytes.length <= READABLE) return bytes.join()
  let text = '#'
  for (let at = 0; at < bytes.length; at += STRIDE) text += String.fromCharCode(...bytes.subarray(at, at + STRIDE))
  return text
}
