/** One line for a frame, as a person reads it, in the standard's words. Secrets of the SASL layer are left out. */

import { modified, rejected } from '../../definitions/delivery-state.ts'
import { error } from '../../definitions/error.ts'
import { frameBody } from '../../definitions/registry.ts'
import { coordinator, source, target } from '../../definitions/terminus.ts'
import type { Composite } from '../../types/composite.ts'
import { AmqpMap } from '../../types/map.ts'
import { AmqpSymbol, Described, Typed } from '../../types/values.ts'
import type { TracedFrame } from '../options.ts'

/** Fields whose bytes prove an identity. */
const SECRET: ReadonlySet<string> = new Set(['initialResponse', 'response', 'challenge', 'additionalData'])
const SHOWN_BYTES = 16

/** Composites that occur inside performatives. */
const NESTED: Readonly<Record<string, Composite<never>>> = Object.fromEntries(
  [source, target, coordinator, error, rejected, modified].map(composite => [
    composite.name,
    composite as Composite<never>,
  ]),
)

/** The frame without direction, fit for a terminal: `[0] open(container-id="c1", …) + 120 bytes`. */
export function formatFrame(frame: TracedFrame): string {
  return formatLayer(frame).replace(UNSEEN, character => `\\u{${(character.codePointAt(0) as number).toString(16)}}`)
}

/** Characters that a terminal would obey: a peer may say anything. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu

function formatLayer(frame: TracedFrame): string {
  if (frame.layer === 'header') return String(frame.body)
  const body = frame.body === undefined ? 'empty frame' : formatComposite(frame.body as Record<string, unknown>)
  const payload = frame.payload > 0 ? ` + ${frame.payload} bytes` : ''
  return `[${frame.layer === 'sasl' ? 'sasl' : frame.channel}] ${body}${payload}`
}

function formatComposite(value: Record<string, unknown>): string {
  const type = String(value['type'])
  const { fields } = NESTED[type] ?? (type.startsWith('sasl-') ? { fields: [] } : frameBodyOf(type))
  const parts: string[] = []
  for (const [key, item] of Object.entries(value)) {
    const field = fields.find(have => have.key === key)
    if (key === 'type' || isUnsaid(item, field?.absent)) continue
    const text = SECRET.has(key)
      ? redacted(item)
      : formatValue(item, field?.type.name === 'string' || field?.type.name === 'address')
    parts.push(`${kebab(key)}=${text}`)
  }
  return `${type}(${parts.join(', ')})`
}

const frameBodyOf = (type: string): Pick<Composite<never>, 'fields'> => {
  try {
    return frameBody.named(type as 'open')
  } catch {
    return { fields: [] }
  }
}

/** What is absent, or says what absence means, need not be read. */
const isUnsaid = (value: unknown, absent: unknown): boolean =>
  value === undefined || value === null || value === absent || (Array.isArray(value) && value.length === 0)

const kebab = (name: string): string => name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)

const redacted = (value: unknown): string =>
  value instanceof Uint8Array ? `<${value.length} bytes, not shown>` : '<not shown>'

function formatValue(value: unknown, quoted = false): string {
  if (typeof value === 'string') return quoted ? JSON.stringify(value) : value
  if (value instanceof Uint8Array) return formatBytes(value)
  if (value instanceof AmqpSymbol) return value.name
  if (value instanceof Typed) return formatValue(value.value)
  if (value instanceof Described) return `@${formatValue(value.descriptor)} ${formatValue(value.value)}`
  if (value instanceof AmqpMap || value instanceof Map)
    return `{${[...value].map(([key, item]) => `${formatValue(key)}: ${formatValue(item, true)}`).join(', ')}}`
  if (Array.isArray(value)) return `[${value.map(item => formatValue(item)).join(', ')}]`
  if (value instanceof Date) return value.toISOString()
  if (typeof value === 'object' && value !== null) return formatComposite(value as Record<string, unknown>)
  return String(value)
}

function formatBytes(bytes: Uint8Array): string {
  const shown = Array.from(bytes.subarray(0, SHOWN_BYTES), byte => byte.toString(16).padStart(2, '0')).join('')
  return bytes.length > SHOWN_BYTES ? `${shown}… (${bytes.length} bytes)` : shown
}
