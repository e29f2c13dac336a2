// Reads the golden vectors beside this file. `hex` becomes `bytes`; values stay in the JSON notation, which is the
// wire notation of test/peer with 64-bit integers as decimal strings and NaN, Infinity, -Infinity and -0 spelled out.
import { readFileSync } from 'node:fs'
import type { Primitive, Wire } from '../peer/wire.ts'

/** A value in the JSON notation: `{"t":"ulong","v":"1"}`, `{"t":"list","v":[…]}`, `{"t":"map","v":[[key, value], …]}`. */
export interface JsonValue {
  t: Wire['t']
  v: unknown
}

interface Row {
  name: string
  /** Where the standard says so, in the OASIS numbering. */
  section: string
  bytes: Uint8Array
}

/** One value. `canonical` if it is also what an encoder which always picks the smallest encoding must write. */
export interface ValueVector extends Row {
  value: JsonValue
  canonical: boolean
}

export interface FrameVector extends Row {
  channel: number
  type: number
  performative: JsonValue | null
  /** What follows the performative, in hex. */
  payload: string
  canonical: boolean
}

export interface MessageVector extends Row {
  sections: { name: string; value: JsonValue }[]
  canonical: boolean
}

/** An exchange: all its bytes are those of the steps, one after the other. A header step has no value. */
export interface SaslVector extends Row {
  steps: { from: 'client' | 'server'; what: 'header' | 'frame'; bytes: Uint8Array; value: JsonValue | null }[]
}

interface Files {
  primitives: ValueVector
  arrays: ValueVector
  composites: ValueVector
  frames: FrameVector
  messages: MessageVector
  sasl: SaslVector
  'bad-input': Row
  'bad-frames': Row
  'bad-messages': Row
}

/** Bytes are `hex`; or `unit` so many `times` between `prefix` and `suffix`; or `inner` in so many one-item list32. */
interface Source {
  hex?: string
  repeat?: { prefix: string; unit: string; times: number; suffix: string }
  nest?: { inner: string; times: number }
}

export function loadVectors<Name extends keyof Files>(name: Name): Files[Name][] {
  const rows: unknown[] = JSON.parse(readFileSync(new URL(`${name}.json`, import.meta.url), 'utf8'))
  return rows.map(row => withBytes(row as object & { steps?: object[] }) as unknown as Files[Name])
}

function withBytes(row: Source & { steps?: Source[] }): object {
  const { hex, repeat, nest, steps, ...rest } = row
  if (!steps) return { ...rest, bytes: bytesOf(row) }
  return { ...rest, bytes: bytesOf({ hex: steps.map(step => step.hex).join(' ') }), steps: steps.map(withBytes) }
}

function bytesOf({ hex = '', repeat, nest }: Source): Uint8Array {
  if (nest) return nested(bytesOf({ hex: nest.inner }), nest.times)
  const text = repeat ? `${repeat.prefix}${repeat.unit.repeat(repeat.times)}${repeat.suffix}` : hex
  const digits = text.replaceAll(' ', '')
  if (!/^([0-9a-f]{2})*$/.test(digits)) throw new Error(`not hex: ${text}`)
  return new Uint8Array(Buffer.from(digits, 'hex'))
}

/** Each level is d0, size (four octets), count 1 (four octets), then the next. */
function nested(inner: Uint8Array, times: number): Uint8Array {
  const bytes = new Uint8Array(times * 9 + inner.length)
  const data = new DataView(bytes.buffer)
  for (let at = 0; at < times * 9; at += 9) {
    data.setUint8(at, 0xd0)
    data.setUint32(at + 1, bytes.length - at - 5)
    data.setUint32(at + 5, 1)
  }
  bytes.set(inner, times * 9)
  return bytes
}

/** The JSON notation as a wire value of the naive codec. */
export function fromJson({ t, v }: JsonValue): Wire {
  if (t === 'ulong' || t === 'long' || t === 'timestamp') return { t, v: BigInt(v as string) }
  if (t === 'float' || t === 'double') return { t, v: Number(v) }
  if (t === 'list') return { t, v: (v as JsonValue[]).map(fromJson) }
  if (t === 'map')
    return { t, v: (v as [JsonValue, JsonValue][]).map(([key, item]) => [fromJson(key), fromJson(item)]) }
  if (t === 'array') {
    const { of, descriptors, elements } = v as { of: Primitive; descriptors: JsonValue[]; elements: JsonValue[] }
    return { t, v: { of, descriptors: descriptors.map(fromJson), elements: elements.map(fromJson) } }
  }
  if (t === 'described') {
    const { descriptor, value } = v as { descriptor: JsonValue; value: JsonValue }
    return { t, v: { descriptor: fromJson(descriptor), value: fromJson(value) } }
  }
  return { t, v } as Wire
}
