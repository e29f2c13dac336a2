/**
 * The standard's machine tables (`standard.json`: names, codes, fields, choices of Parts 2–5), and an oracle made from
 * them alone: what a composite on the wire means as a JavaScript object, and what its smallest form on the wire is.
 */

import { readFileSync } from 'node:fs'
import { AmqpMap } from '../../src/types/map.ts'
import { AmqpSymbol, Described, Typed, Uuid } from '../../src/types/values.ts'
import { fromHex, nul, type Wire } from '../peer/wire.ts'

export interface StandardField {
  readonly name: string
  readonly type: string
  readonly requires?: string
  readonly mandatory?: true
  readonly default?: string
  readonly multiple?: true
}

export interface StandardComposite {
  readonly name: string
  readonly section: string
  readonly code: number
  readonly provides?: readonly string[]
  readonly fields: readonly StandardField[]
}

export interface StandardRestricted {
  readonly section: string
  readonly source: string
  readonly provides?: readonly string[]
  readonly descriptor?: string
  readonly code?: number
  readonly choices?: Readonly<Record<string, string>>
}

export const standard: {
  readonly composites: readonly StandardComposite[]
  readonly restricted: Readonly<Record<string, StandardRestricted>>
  readonly constants: Readonly<Record<string, number>>
} = JSON.parse(readFileSync(new URL('standard.json', import.meta.url), 'utf8'))

/** `next-incoming-id` is nextIncomingId, without exceptions. */
export const camelCase = (name: string): string => name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())

/**
 * Defaults that the machine tables lack and the text gives: an absent header means the values of an ordinary message
 * (§3.2.1), an absent flag of modified is not set (§3.4.5).
 */
const defaultsOfTheText: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  header: { durable: false, priority: 4, 'first-acquirer': false, 'delivery-count': 0 },
  modified: { 'delivery-failed': false, 'undeliverable-here': false },
}

/** What an absent field means to a reader. */
export function absent(composite: StandardComposite, field: StandardField): unknown {
  if (field.multiple) return []
  const { default: text } = field
  if (text === undefined) return defaultsOfTheText[composite.name]?.[field.name]
  if (standard.restricted[field.type]?.choices) return text
  return text === 'true' || text === 'false' ? text === 'true' : Number(text)
}

/** The composite that a described list is. */
export function compositeOf(wire: Wire): StandardComposite | undefined {
  if (wire.t !== 'described' || wire.v.value.t !== 'list') return undefined
  const { t, v } = wire.v.descriptor
  return standard.composites.find(({ code, name }) =>
    t === 'ulong' ? v === BigInt(code) : t === 'symbol' && v === `amqp:${name}:list`,
  )
}

/** The object that the described list means. */
export function meaning(wire: Wire): Record<string, unknown> {
  const composite = compositeOf(wire)
  if (!composite || wire.t !== 'described' || wire.v.value.t !== 'list') throw new Error('no composite of the standard')
  const items = wire.v.value.v
  const fields = composite.fields.map((field, i): [string, unknown] => {
    const item = items[i] ?? nul
    return [camelCase(field.name), item.t === 'null' ? absent(composite, field) : fieldValue(field, item)]
  })
  return { type: composite.name, ...Object.fromEntries(fields) }
}

function fieldValue(field: StandardField, item: Wire): unknown {
  if (field.multiple) return item.t === 'array' ? item.v.elements.map(({ v }) => v) : [item.v]
  const choices = standard.restricted[field.type]?.choices
  if (choices) return Object.keys(choices).find(name => choices[name] === String(item.v))
  if (item.t === 'described') return meaning(item)
  if (item.t === 'symbol') return item.v
  // The one map whose values are composites. §2.7.3
  if (field.name === 'unsettled' && item.t === 'map')
    return item.v.map(([tag, state]) => [plain(tag), state.t === 'null' ? undefined : meaning(state)])
  return plain(item)
}

/** A value in a `*` position, at any depth. */
function plain(wire: Wire): unknown {
  switch (wire.t) {
    case 'symbol':
      return new AmqpSymbol(wire.v)
    case 'binary':
      return fromHex(wire.v)
    case 'uuid':
      return new Uuid(fromHex(wire.v))
    case 'timestamp':
      return new Date(Number(wire.v))
    case 'list':
      return wire.v.map(plain)
    case 'map':
      return new AmqpMap(wire.v.map(([key, value]) => [key, value].map(plain) as [never, never]))
    case 'described':
      return new Described(plain(wire.v.descriptor) as never, plain(wire.v.value) as never)
    case 'array':
      return new Typed('array', {
        of: wire.v.of,
        descriptors: wire.v.descriptors.map(plain),
        elements: wire.v.elements.map(element => (element.t === 'symbol' ? element.v : plain(element))),
      })
    case 'char':
    case 'decimal32':
    case 'decimal64':
    case 'decimal128':
      throw new Error(`no composite vector holds a ${wire.t}`)
    default:
      return wire.v
  }
}

/** Maps have private fields, which equality does not see: they become their entries. */
export function comparable(value: unknown): unknown {
  if (value instanceof AmqpMap) return { entries: [...value].map(entry => entry.map(comparable)) }
  if (value instanceof Uint8Array) return { hex: Buffer.from(value).toString('hex') }
  if (Array.isArray(value)) return value.map(comparable)
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, comparable(item)]))
}

/** The smallest form: numeric descriptors, what is absent by default left out, one symbol instead of an array of one. */
export function smallest(wire: Wire): Wire {
  const composite = compositeOf(wire)
  if (!composite || wire.t !== 'described' || wire.v.value.t !== 'list') return wire
  const items = wire.v.value.v
  const v = composite.fields.map((field, i): Wire => {
    const item = items[i] ?? nul
    if (item.t === 'null' || field.mandatory) return item.t === 'array' ? shortArray(item) : smallest(item)
    if (field.multiple) return item.t === 'array' ? shortArray(item) : item
    return fieldValue(field, item) === absent(composite, field) ? nul : smallest(item)
  })
  while (v.at(-1)?.t === 'null') v.pop()
  return {
    t: 'described',
    v: { descriptor: { t: 'ulong', v: BigInt(composite.code) }, value: { t: 'list', v } },
  }
}

function shortArray(wire: Wire & { t: 'array' }): Wire {
  const [first, second] = wire.v.elements
  return second === undefined ? (first ?? nul) : wire
}
