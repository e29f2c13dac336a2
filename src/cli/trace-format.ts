/** One line for a frame, as a person reads it, in the standard's words. Secrets of the SASL layer are left out. */

import { AmqpMap, AmqpSymbol, Described, type TracedFrame, Typed } from '../index.ts'

/** Fields whose bytes prove an identity. */
const SECRET: ReadonlySet<string> = new Set(['initialResponse', 'response', 'challenge', 'additionalData'])
/** What absence means, so it need not be read. */
const UNSAID: ReadonlySet<unknown> = new Set([undefined, null, false])
const SHOWN_BYTES = 16

/** The frame without direction: `[0] open(container-id="c1", …) + 120 bytes`. */
export function formatFrame(frame: TracedFrame): string {
  if (frame.layer === 'header') return String(frame.body)
  const body = frame.body === undefined ? 'empty frame' : formatComposite(frame.body as Record<string, unknown>)
  const payload = frame.payload > 0 ? ` + ${frame.payload} bytes` : ''
  return `[${frame.layer === 'sasl' ? 'sasl' : frame.channel}] ${body}${payload}`
}

function formatComposite(composite: Record<string, unknown>): string {
  const parts: string[] = []
  for (const [key, value] of Object.entries(composite)) {
    if (key === 'type' || UNSAID.has(value) || (Array.isArray(value) && value.length === 0)) continue
    parts.push(`${kebab(key)}=${SECRET.has(key) ? redacted(value) : formatValue(value)}`)
  }
  return `${String(composite['type'])}(${parts.join(', ')})`
}

const kebab = (name: string): string => name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)

const redacted = (value: unknown): string =>
  value instanceof Uint8Array ? `<${value.length} bytes, not shown>` : '<not shown>'

function formatValue(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value)
  if (value instanceof Uint8Array) return formatBytes(value)
  if (value instanceof AmqpSymbol) return value.name
  if (value instanceof Typed) return formatValue(value.value)
  if (value instanceof Described) return `@${formatValue(value.descriptor)} ${formatValue(value.value)}`
  if (value instanceof AmqpMap || value instanceof Map)
    return `{${[...value].map(([key, item]) => `${formatValue(key)}: ${formatValue(item)}`).join(', ')}}`
  if (Array.isArray(value)) return `[${value.map(formatValue).join(', ')}]`
  if (value instanceof Date) return value.toISOString()
  if (typeof value === 'object' && value !== null) return formatComposite(value as Record<string, unknown>)
  return String(value)
}

function formatBytes(bytes: Uint8Array): string {
  const shown = Array.from(bytes.subarray(0, SHOWN_BYTES), byte => byte.toString(16).padStart(2, '0')).join('')
  return bytes.length > SHOWN_BYTES ? `${shown}… (${bytes.length} bytes)` : shown
}
