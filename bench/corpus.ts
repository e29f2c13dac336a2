/**
 * Fixtures that all cases share: seeded, so that every run does the same work, and distinct, so that no cache learns it.
 *
 * Every ring has 4,096 entries. Keys of maps stay the same from entry to entry, as they do on a real stream of
 * telemetry; values vary.
 */

import type { MessageInit } from '../src/message/message.ts'
import { AmqpSymbol, type AmqpValue, double, int, symbol, timestamp, Uuid, ulong } from '../src/types/values.ts'

/** Entries of a ring. */
export const RING = 4096

/** Pseudo-random 32-bit integers (mulberry32): the same ones for the same seed. */
export function random(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (t ^ (t >>> 14)) >>> 0
  }
}

/** `count` bytes of the seed. */
export function randomBytes(count: number, seed: number): Uint8Array {
  const next = random(seed)
  const bytes = new Uint8Array(count)
  for (let i = 0; i < count; i++) bytes[i] = next()
  return bytes
}

/** A ring made of an entry for each index, each from a generator of its own. */
export const ring = <T>(make: (next: () => number, index: number) => T): readonly T[] =>
  Array.from({ length: RING }, (_, i) => make(random(0x5eed + i * 7919), i))

const hex = (n: number, width: number): string => n.toString(16).padStart(width, '0').slice(-width)
const uuidText = (next: () => number): string => {
  const all = hex(next(), 8) + hex(next(), 8) + hex(next(), 8) + hex(next(), 8)
  return `${all.slice(0, 8)}-${all.slice(8, 12)}-${all.slice(12, 16)}-${all.slice(16, 20)}-${all.slice(20)}`
}

/**
 * `RING` bodies of `size` bytes, all different. They overlap in one pool, at odd distances, so that a ring of large ones
 * does not need its full size in memory.
 */
export function bodies(size: number): readonly Uint8Array[] {
  const stride = size <= 1024 ? size : 257
  const pool = randomBytes(stride * (RING - 1) + size, size)
  return Array.from({ length: RING }, (_, i) => pool.subarray(i * stride, i * stride + size))
}

/** What a device sends: 13 strings, two maps, a timestamp and a body of 256 bytes; about 600 bytes in all. */
export const telemetry = (): readonly MessageInit[] =>
  ring(
    (next, i): MessageInit => ({
      header: { durable: true, ttl: 60_000 + (next() % 60_000) },
      messageAnnotations: {
        'x-opt-device-id': `device-${hex(next(), 6)}`,
        'x-opt-auth-generation': String(next()),
        'x-opt-message-source': next() % 2 ? 'Telemetry' : 'twinChangeEvents',
        'x-opt-enqueued-time': new Date(1_700_000_000_000 + next()),
      },
      properties: {
        messageId: uuidText(next),
        to: `/devices/device-${hex(next(), 6)}/messages/events`,
        correlationId: uuidText(next),
        contentType: 'application/json',
        contentEncoding: 'utf-8',
        creationTime: new Date(1_700_000_000_000 + next()),
      },
      applicationProperties: {
        site: `plant-${next() % 97}`,
        line: `line ${next() % 31} / cell ${next() % 11}`,
        firmware: `${next() % 9}.${next() % 20}.${next() % 100}`,
        alert: next() % 5 ? 'none' : 'temperature',
        operator: next() % 3 ? `user-${next() % 1000}` : 'Jürgen Müller',
        sequence: i,
        temperature: (next() % 10_000) / 97,
        online: next() % 7 > 0,
      },
      body: randomBytes(256, next()),
    }),
  )

/** One data section of `size` bytes and nothing else. */
export const dataMessages = (size: number): readonly MessageInit[] => bodies(size).map(body => ({ body }))

/** One value of each common primitive type, with magnitudes as they occur. */
export interface Primitives {
  readonly boolean: boolean
  readonly ubyte: number
  readonly uint: number
  readonly sequenceNo: number
  readonly ulong: bigint
  readonly int: number
  readonly long: bigint
  readonly double: number
  readonly timestamp: Date
  readonly binary: Uint8Array
  readonly string: string
  readonly symbol: string
}

/** Values in a row of `primitives`. */
export const PRIMITIVES_PER_ROW = 12

const SYMBOLS = ['amqp:accepted:list', 'amqp:rejected:list', 'x-opt-offset', 'x-opt-sequence-number', 'com.example:key']

export const primitives = (): readonly Primitives[] =>
  ring(next => ({
    boolean: next() % 2 === 0,
    ubyte: next() & 0xff,
    uint: next() % 300,
    sequenceNo: next(),
    ulong: BigInt(next()) << BigInt(next() % 32),
    int: next() | 0,
    long: BigInt(next()) * (next() % 2 ? 1n : -1n),
    double: next() / 7,
    timestamp: new Date(1_700_000_000_000 + next()),
    binary: randomBytes(4 + (next() % 28), next()),
    string: `value ${hex(next(), 4 + (next() % 5))}`,
    symbol: SYMBOLS[next() % SYMBOLS.length] as string,
  }))

/** Texts from 1 to 300 characters, one in eight of them not ASCII. */
export const texts = (): readonly string[] =>
  ring(next => {
    const length = next() % 10 === 0 ? 60 + (next() % 240) : 1 + (next() % 40)
    const alphabet = next() % 8 === 0 ? 'aeiouäöüßéñ€łк漢字😀 ' : 'abcdefghijklmnopqrstuvwxyzABCDEFGH0123456789-_/.: '
    const letters = [...alphabet]
    let text = ''
    for (let i = 0; i < length; i++) text += letters[next() % letters.length]
    return text
  })

/** Maps with values of any type, nested, as filters and method payloads have them. */
export const values = (): readonly AmqpValue[] =>
  ring(
    next =>
      new Map<AmqpValue, AmqpValue>([
        ['name', `sensor-${hex(next(), 5)}`],
        ['id', new Uuid(randomBytes(16, next()))],
        ['count', int(next() | 0)],
        ['big', ulong(BigInt(next()) << 20n)],
        ['ratio', double(next() / 3)],
        ['kind', symbol(SYMBOLS[next() % SYMBOLS.length] as string)],
        ['at', timestamp(1_700_000_000_000n + BigInt(next()))],
        ['list', [next() % 100, `s${next() % 100}`, next() % 2 === 0, null]],
        [
          new AmqpSymbol('nested'),
          new Map<AmqpValue, AmqpValue>([
            ['a', next() % 1000],
            ['b', randomBytes(16, next())],
          ]),
        ],
      ]) as AmqpValue,
  )
