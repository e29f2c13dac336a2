/**
 * AmqpMap: an ordered map whose keys are compared by AMQP type and value. §1.6.23
 *
 * Entries lie flat in one array: for the handful that messages carry this beats `Map`, to build and to read. Above
 * `INDEX_ABOVE` entries the first look-up builds an index. Two keys are the same when type *and* value are: int 1,
 * uint 1 and "1" are three keys.
 */

import { keyIdentity } from './key-identity.ts'
import { AmqpSymbol, type AmqpValue, Decimal, Typed } from './values.ts'

const INDEX_ABOVE = 16
/** Of maps that have no entries yet; never changed. */
const NONE: AmqpValue[] = []

/** An ordered, immutable map. `get('x')` finds a string or a symbol key, `get(1)` any numeric key equal to 1. */
export class AmqpMap implements ReadonlyMap<AmqpValue, AmqpValue> {
  static {
    // Node's console shows what a method of this name returns.
    const inspect = Symbol.for('nodejs.util.inspect.custom')
    Object.defineProperty(AmqpMap.prototype, inspect, {
      value(this: AmqpMap) {
        return new Map(this)
      },
    })
  }

  /** key, value, key, value … */
  #flat: AmqpValue[] = NONE
  #index: ReadonlyMap<string, number> | undefined

  /** @param entries  kept in order. Of two equal keys `get` finds the first; encoding refuses both. */
  constructor(entries?: Iterable<readonly [AmqpValue, AmqpValue]>) {
    if (!entries) return
    this.#flat = []
    for (const [key, value] of entries) this.#flat.push(key, value)
  }

  /** Takes over a flat array of keys and values; the caller gives it up. */
  static fromFlat(flat: AmqpValue[]): AmqpMap {
    const map = new AmqpMap()
    map.#flat = flat
    return map
  }

  get size(): number {
    return this.#flat.length >> 1
  }

  get(key: AmqpValue): AmqpValue | undefined {
    const at = this.#find(key)
    return at < 0 ? undefined : this.#flat[at + 1]
  }

  has(key: AmqpValue): boolean {
    return this.#find(key) >= 0
  }

  forEach(
    callback: (value: AmqpValue, key: AmqpValue, map: ReadonlyMap<AmqpValue, AmqpValue>) => void,
    thisArg?: unknown,
  ): void {
    for (const [key, value] of this) callback.call(thisArg, value, key, this)
  }

  *entries(): MapIterator<[AmqpValue, AmqpValue]> {
    const flat = this.#flat
    for (let i = 0; i < flat.length; i += 2) yield [flat[i] as AmqpValue, flat[i + 1] as AmqpValue]
  }

  *keys(): MapIterator<AmqpValue> {
    for (let i = 0; i < this.#flat.length; i += 2) yield this.#flat[i] as AmqpValue
  }

  *values(): MapIterator<AmqpValue> {
    for (let i = 1; i < this.#flat.length; i += 2) yield this.#flat[i] as AmqpValue
  }

  [Symbol.iterator](): MapIterator<[AmqpValue, AmqpValue]> {
    return this.entries()
  }

  /** The flat entries themselves, for encoders: not to be changed. */
  get flat(): readonly AmqpValue[] {
    return this.#flat
  }

  /** An object with the keys as text, the values as `toJson` gives them; where two keys have the same text the first stands. */
  toJSON(): Record<string, unknown> {
    const out: Record<string, unknown> = Object.create(null)
    for (const [key, value] of this) {
      const name = keyText(key)
      if (!(name in out)) out[name] = toJson(value)
    }
    return out
  }

  #find(key: AmqpValue): number {
    const flat = this.#flat
    if (flat.length > 2 * INDEX_ABOVE) return this.#findIndexed(key)
    if (typeof key === 'string') {
      for (let i = 0; i < flat.length; i += 2) {
        const have = flat[i]
        if (have === key || (have instanceof AmqpSymbol && have.name === key)) return i
      }
      return -1
    }
    for (let i = 0; i < flat.length; i += 2) if (matches(flat[i] as AmqpValue, key)) return i
    return -1
  }

  #findIndexed(key: AmqpValue): number {
    if (!this.#index) {
      const index = new Map<string, number>()
      for (let i = 0; i < this.#flat.length; i += 2) {
        const have = this.#flat[i] as AmqpValue
        for (const text of [keyIdentity(have), looseIdentity(have)])
          if (text !== undefined && !index.has(text)) index.set(text, i)
      }
      this.#index = index
    }
    return this.#index.get(looseQuery(key) ?? keyIdentity(key)) ?? -1
  }
}

/** Whether the key `have` of a map answers to `asked`. */
function matches(have: AmqpValue, asked: AmqpValue): boolean {
  const loose = looseQuery(asked)
  return loose === undefined ? keyIdentity(have) === keyIdentity(asked) : looseIdentity(have) === loose
}

/** A plain string asks for a string or symbol of that text, a plain number or bigint for any numeric key of that value. */
function looseQuery(asked: AmqpValue): string | undefined {
  if (typeof asked === 'string') return `text:${asked}`
  if (typeof asked === 'number' || typeof asked === 'bigint') return `number:${asked}`
  return undefined
}

function looseIdentity(have: AmqpValue): string | undefined {
  if (typeof have === 'string') return `text:${have}`
  if (have instanceof AmqpSymbol) return `text:${have.name}`
  const value = have instanceof Typed ? have.value : have
  return typeof value === 'number' || typeof value === 'bigint' ? `number:${value}` : undefined
}

function keyText(key: AmqpValue): string {
  if (key instanceof Typed) return String(key.value)
  return key instanceof Uint8Array ? keyIdentity(key) : String(key)
}

/**
 * A value as JSON can show it. One way only: types are lost. Binaries become hexadecimal digits, 64-bit integers decimal
 * ones.
 */
export function toJson(value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString()
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Uint8Array) return hexOf(value)
  if (value instanceof Decimal) return value.toString()
  if (value instanceof Typed) return toJson(value.value)
  if (Array.isArray(value)) return value.map(toJson)
  if (value instanceof Map) return new AmqpMap(value).toJSON()
  // AmqpMap, AmqpSymbol, Uuid and Date bring their own.
  if ('toJSON' in value) return value
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, toJson(inner)]))
}

const hexOf = (bytes: Uint8Array): string => Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')
