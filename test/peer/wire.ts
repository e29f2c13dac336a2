// A second, naive AMQP 1.0 codec for tests only (§1.6, §2.3, §2.7, §5.3). It shares no code with src, prefers the
// obvious over the fast, and writes the smallest encoding of each type. A wire value is `{ t, v }`: `t` names the
// AMQP type; ulong, long and timestamp are bigint; uuid, binary and decimals are lower-case hex; a char is a string
// of one code point.

/** Elements share one constructor: its descriptors, outermost first, then the primitive type `of`. */
export type WireArray = { of: Primitive; descriptors: Wire[]; elements: Wire[] }
export type Primitive = Exclude<Wire['t'], 'described'>
export type Wire =
  | { t: 'null'; v: null }
  | { t: 'boolean'; v: boolean }
  | { t: 'ubyte' | 'ushort' | 'uint' | 'byte' | 'short' | 'int' | 'float' | 'double'; v: number }
  | { t: 'ulong' | 'long' | 'timestamp'; v: bigint }
  | { t: 'decimal32' | 'decimal64' | 'decimal128' | 'char' | 'uuid' | 'binary' | 'string' | 'symbol'; v: string }
  | { t: 'list'; v: Wire[] }
  | { t: 'map'; v: [Wire, Wire][] }
  | { t: 'array'; v: WireArray }
  | { t: 'described'; v: { descriptor: Wire; value: Wire } }

/** How deep values may nest, and how many elements of no bytes an array may hold. */
export const limits = { depth: 100, zeroWidthElements: 65_536 }

export const nul: Wire = { t: 'null', v: null }
export const amqpHeader = fromHex('414d5150 00 010000')
export const tlsHeader = fromHex('414d5150 02 010000')
export const saslHeader = fromHex('414d5150 03 010000')

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

export function fromHex(hex: string): Uint8Array {
  const digits = hex.replace(/\s/g, '')
  if (!/^([0-9a-f]{2})*$/i.test(digits)) throw new Error(`not hex: ${hex}`)
  return new Uint8Array(Buffer.from(digits, 'hex'))
}

export function concat(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts))
}

// The encodings of each type, the narrowest first. The high digit of a code gives its width.
const codes = table<Primitive>(`
  null 40; boolean 41 42 56; ubyte 50; ushort 60; uint 43 52 70; ulong 44 53 80; byte 51; short 61; int 54 71;
  long 55 81; float 72; double 82; decimal32 74; decimal64 84; decimal128 94; char 73; timestamp 83; uuid 98;
  binary a0 b0; string a1 b1; symbol a3 b3; list 45 c0 d0; map c1 d1; array e0 f0`)
const types = new Map([...codes].flatMap(([type, all]) => all.map(code => [code, type] as const)))
const signed = new Set<Wire['t']>(['byte', 'short', 'int', 'long', 'timestamp'])
const none: Uint8Array = new Uint8Array(0)

function table<Name extends string>(text: string): Map<Name, number[]> {
  const rows = text.split(';').map(row => row.trim().split(/\s+/))
  return new Map(rows.map(([name, ...hex]) => [name as Name, hex.map(code => Number.parseInt(code, 16))]))
}

/** The bytes each value of this constructor has, unless a size says so (0xa0 and up). */
function fixedWidth(code: number): number {
  return code < 0x50 ? 0 : 2 ** ((code >> 4) - 5)
}

// ---- encode

export function encode(value: Wire): Uint8Array {
  if (value.t === 'described') return concat(Uint8Array.of(0), encode(value.v.descriptor), encode(value.v.value))
  const [narrowest] = forms(value)
  if (!narrowest) throw new Error(`no ${value.t} can be ${value.v}`)
  return concat(Uint8Array.of(narrowest[0]), narrowest[1])
}

/** One encoding of a value: the constructor, and the data which follows it. */
type Form = [code: number, data: Uint8Array]

/** Every encoding of the value, the narrowest first. */
function forms({ t, v }: Wire): Form[] {
  if (t === 'described') throw new Error('the descriptors of elements belong in the array')
  if (t === 'boolean') return [...(v ? [form(0x41)] : [form(0x42)]), form(0x56, Uint8Array.of(v ? 1 : 0))]
  if (t === 'float') return [form(0x72, new Uint8Array(new Float32Array([v]).buffer).reverse())]
  if (t === 'double') return [form(0x82, new Uint8Array(new Float64Array([v]).buffer).reverse())]
  if (t === 'binary') return sized(t, fromHex(v))
  if (t === 'string' && v.isWellFormed()) return sized(t, Buffer.from(v, 'utf8'))
  if (t === 'symbol' && /^[\0-\x7f]*$/.test(v)) return sized(t, Buffer.from(v, 'latin1'))
  if (t === 'list') return [...(v.length === 0 ? [form(0x45)] : []), ...counted(t, v.length, ...v.map(encode))]
  if (t === 'map') return counted(t, v.length * 2, ...v.flat().map(encode))
  if (t === 'array') return counted(t, v.elements.length, ...elements(v))
  if (t === 'char') return [...v].length === 1 && v.isWellFormed() ? integers(t, v.codePointAt(0) ?? 0) : []
  if (typeof v === 'number' || typeof v === 'bigint') return integers(t, v)
  return (codes.get(t) ?? []).map(code => form(code, fromHex(v ?? ''))).filter(([c, d]) => fixedWidth(c) === d.length)
}

function form(code: number, data: Uint8Array = none): Form {
  return [code, data]
}

function integers(type: Primitive, v: number | bigint): Form[] {
  const clip = signed.has(type) ? BigInt.asIntN : BigInt.asUintN
  const fitting = (codes.get(type) ?? []).filter(code => clip(fixedWidth(code) * 8, BigInt(v)) === BigInt(v))
  return fitting.map(code => form(code, unsigned(BigInt(v), fixedWidth(code))))
}

/** The low `width` bytes of `v`, most significant first. */
function unsigned(v: bigint, width: number): Uint8Array {
  return Uint8Array.from({ length: width }, (_, i) => Number((v >> BigInt(8 * (width - 1 - i))) & 255n))
}

/** Size and content, the size in one octet if it fits, and in four. */
function sized(type: Primitive, content: Uint8Array): Form[] {
  const [one = 0, four = 0] = codes.get(type) ?? []
  const wide = form(four, concat(unsigned(BigInt(content.length), 4), content))
  return content.length > 255 ? [wide] : [form(one, concat(Uint8Array.of(content.length), content)), wide]
}

/** Size, count and content. The size counts the count as well. */
function counted(type: 'list' | 'map' | 'array', count: number, ...items: Uint8Array[]): Form[] {
  const [one = 0, four = 0] = codes.get(type)?.slice(-2) ?? []
  const content = concat(...items)
  const wide = form(four, concat(unsigned(BigInt(content.length + 4), 4), unsigned(BigInt(count), 4), content))
  if (content.length + 1 > 255 || count > 255) return [wide]
  return [form(one, concat(Uint8Array.of(content.length + 1, count), content)), wide]
}

/** The element constructor, then the elements: the narrowest code which fits all, never one of no width but null. */
function elements({ of, descriptors, elements }: WireArray): Uint8Array[] {
  if (elements.some(element => element.t !== of)) throw new Error(`not all elements are ${of}`)
  const all = elements.map(element => new Map(forms(element)))
  const code = codes.get(of)?.find(code => (code >= 0x50 || of === 'null') && all.every(element => element.has(code)))
  if (code === undefined) throw new Error(`no encoding of ${of} fits all elements`)
  const described = descriptors.flatMap(descriptor => [Uint8Array.of(0), encode(descriptor)])
  return [...described, Uint8Array.of(code), ...all.map(element => element.get(code) ?? none)]
}

// ---- decode

/** Decodes the value at `offset`. Throws on whatever the standard does not allow, and beyond the limits above. */
export function decode(bytes: Uint8Array, offset = 0, depth = 0): { value: Wire; end: number } {
  const { descriptors, code, end } = constructorAt(bytes, offset, depth)
  const data = dataAt(bytes, end, code, depth + descriptors.length)
  let value = data.value
  for (const descriptor of descriptors.reverse()) value = { t: 'described', v: { descriptor, value } }
  return { value, end: data.end }
}

/** Decodes one value after the other, until the bytes end. */
export function decodeAll(bytes: Uint8Array, depth = 0): Wire[] {
  const values: Wire[] = []
  for (let at = 0; at < bytes.length; ) {
    const { value, end } = decode(bytes, at, depth)
    values.push(value)
    at = end
  }
  return values
}

function constructorAt(bytes: Uint8Array, at: number, depth: number) {
  const descriptors: Wire[] = []
  for (;;) {
    if (depth + descriptors.length > limits.depth) throw new Error('nested too deep')
    const code = number(take(bytes, at++, 1))
    if (code !== 0) return { descriptors, code, end: at }
    const { value, end } = decode(bytes, at, depth + descriptors.length + 1)
    descriptors.push(value)
    at = end
  }
}

function dataAt(bytes: Uint8Array, at: number, code: number, depth: number) {
  const type = types.get(code)
  if (!type) throw new Error(`unknown constructor 0x${code.toString(16)}`)
  if (code < 0xa0) return { value: fixed(type, code, take(bytes, at, fixedWidth(code))), end: at + fixedWidth(code) }
  const sizeWidth = (code >> 4) % 2 === 0 ? 1 : 4
  const size = number(take(bytes, at, sizeWidth))
  return { value: variable(type, take(bytes, at + sizeWidth, size), sizeWidth, depth), end: at + sizeWidth + size }
}

function fixed(t: Primitive, code: number, raw: Uint8Array): Wire {
  const digits = BigInt(`0x0${toHex(raw)}`)
  const v = signed.has(t) ? BigInt.asIntN(raw.length * 8, digits) : digits
  if (t === 'null') return nul
  if (t === 'list') return { t, v: [] }
  if (t === 'boolean' && v > 1n) throw new Error(`boolean octet ${v}`)
  if (t === 'boolean') return { t, v: code === 0x41 || v === 1n }
  if (t === 'char') return { t, v: scalar(Number(v)) }
  if (t === 'float') return { t, v: new DataView(raw.slice().buffer).getFloat32(0) }
  if (t === 'double') return { t, v: new DataView(raw.slice().buffer).getFloat64(0) }
  if (t === 'ulong' || t === 'long' || t === 'timestamp') return { t, v }
  if (t === 'uuid' || t === 'decimal32' || t === 'decimal64' || t === 'decimal128') return { t, v: toHex(raw) }
  return { t, v: Number(v) } as Wire
}

function variable(t: Primitive, raw: Uint8Array, countWidth: number, depth: number): Wire {
  if (t === 'binary') return { t, v: toHex(raw) }
  if (t === 'string') return { t, v: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(raw) }
  if (t === 'symbol' && raw.some(byte => byte > 0x7f)) throw new Error('symbol is not ASCII')
  if (t === 'symbol') return { t, v: Buffer.from(raw).toString('latin1') }
  const count = number(take(raw, 0, countWidth))
  if (t === 'array') return { t, v: arrayOf(raw.subarray(countWidth), count, depth) }
  if (count > raw.length - countWidth) throw new Error(`${count} items in ${raw.length - countWidth} bytes`)
  const items = decodeAll(raw.subarray(countWidth), depth + 1)
  if (items.length !== count) throw new Error(`${items.length} items, not ${count}`)
  return t === 'map' ? { t, v: pairs(items) } : { t: 'list', v: items }
}

function pairs(items: Wire[]): [Wire, Wire][] {
  if (items.length % 2 !== 0) throw new Error('a map with an odd count')
  const keys = items.filter((_, i) => i % 2 === 0)
  if (new Set(keys.map(key => toHex(encode(key)))).size !== keys.length) throw new Error('a map with a duplicate key')
  return keys.map((key, i) => [key, items[i * 2 + 1] ?? nul])
}

function arrayOf(bytes: Uint8Array, count: number, depth: number): WireArray {
  const { descriptors, code, end } = constructorAt(bytes, 0, depth + 1)
  const most = fixedWidth(code) === 0 ? limits.zeroWidthElements : bytes.length - end
  if (count > most) throw new Error(`${count} elements where at most ${most} are possible`)
  const elements: Wire[] = []
  let at = end
  for (let i = 0; i < count; i++) {
    const element = dataAt(bytes, at, code, depth + 1 + descriptors.length)
    elements.push(element.value)
    at = element.end
  }
  if (at !== bytes.length) throw new Error(`${bytes.length - at} bytes after the last element`)
  const of = types.get(code)
  if (!of) throw new Error(`unknown element constructor 0x${code.toString(16)}`)
  return { of, descriptors, elements }
}

function scalar(code: number): string {
  if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) throw new Error(`char ${code} is no Unicode scalar`)
  return String.fromCodePoint(code)
}

function take(bytes: Uint8Array, at: number, length: number): Uint8Array {
  if (at + length > bytes.length) throw new Error(`${length} bytes wanted at ${at} of ${bytes.length}`)
  return bytes.subarray(at, at + length)
}

function number(bytes: Uint8Array): number {
  return bytes.reduce((sum, byte) => sum * 256 + byte, 0)
}

// ---- frames (§2.3, §5.3.1): size, data offset, type, channel, extended header, performative, payload

export type Frame = { channel: number; type: number; extended: string; performative: Wire | null; payload: Uint8Array }

export function frame(channel: number, performative?: Wire, payload: Uint8Array = none, type = 0): Uint8Array {
  const body = concat(performative ? encode(performative) : none, payload)
  return concat(unsigned(BigInt(body.length + 8), 4), Uint8Array.of(2, type, channel >> 8, channel & 255), body)
}

/** All whole frames, and what there is of the next. Throws on a malformed frame. */
export function parseFrames(bytes: Uint8Array): { frames: Frame[]; rest: Uint8Array } {
  const [size, start] = [number(bytes.subarray(0, 4)), (bytes[4] ?? 0) * 4]
  if (bytes.length >= 8 && (size < 8 || start < 8 || start > size)) throw new Error(`frame of ${size} from ${start}`)
  if (bytes.length < 8 || bytes.length < size) return { frames: [], rest: bytes }
  const [type, channel, extended] = [bytes[5] ?? 0, number(bytes.subarray(6, 8)), toHex(bytes.subarray(8, start))]
  const body = bytes.subarray(start, size)
  if (type > 1 || (type === 1 && body.length === 0)) throw new Error(`frame of type ${type}, body ${body.length}`)
  const { value, end } = body.length === 0 ? { value: null, end: 0 } : decode(body)
  if (value !== null && value.t !== 'described') throw new Error('the frame body is not described')
  if (type === 1 && end < body.length) throw new Error('a SASL frame with a payload')
  const { frames, rest } = parseFrames(bytes.subarray(size))
  return { frames: [{ channel, type, extended, performative: value, payload: body.subarray(end) }, ...frames], rest }
}
