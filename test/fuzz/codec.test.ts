/**
 * Any bytes to the codec end in a value or in a DecodeError: never another throw, never a hang, and what was decoded can
 * be encoded and is the same when it comes back.
 *
 * Inputs are encodings of values and messages with bytes changed, dropped, doubled and cut at random places, and pure
 * noise. The seed is printed on failure; FUZZ_RUNS sets how many.
 */

import { inspect } from 'node:util'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { DecodeError, EncodeError } from '../../src/errors.ts'
import { decodeMessage } from '../../src/message/decode.ts'
import { encodeMessage } from '../../src/message/encode.ts'
import { decodeTyped, decodeValue } from '../../src/types/any-reader.ts'
import { encodeValue } from '../../src/types/any-writer.ts'
import { AmqpMap } from '../../src/types/map.ts'
import type { AmqpValue } from '../../src/types/values.ts'
import * as arbitrary from '../support/arbitraries.ts'
import { mutate, random } from './mutations.ts'

const RUNS = Number(process.env.FUZZ_RUNS ?? 4000)
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() & 0x7fffffff)
/** Encodings to start from. */
const ORIGINALS = 500
/** Small enough that every input stays cheap, large enough that no original is refused. */
const LIMITS = { maxNesting: 32, maxElements: 1 << 16 }

/** What `act` gives, or `undefined` where the bytes will not do, or what came of them for one of the reasons `refusals`. */
function attempt<T>(act: () => T, ...refusals: string[]): T | undefined {
  try {
    return act()
  } catch (error) {
    if (error instanceof DecodeError) return undefined
    if (error instanceof EncodeError && refusals.some(reason => error.message.includes(reason))) return undefined
    throw error
  }
}

/** A value as it compares: a plain number may come back as a bigint, since a uint goes out as the long of its value. */
function loose(value: unknown): unknown {
  if (typeof value === 'number' || typeof value === 'bigint') return Object.is(value, -0) ? '-0' : String(value)
  if (value instanceof AmqpMap) return { map: value.flat.map(loose) }
  if (Array.isArray(value)) return value.map(loose)
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array || value instanceof Date) return value
  const fields = Object.entries(value).map(([key, item]) => [key, loose(item)])
  return { class: value.constructor?.name, ...Object.fromEntries(fields) }
}

function feedValue(bytes: Uint8Array): boolean {
  const typed = attempt(() => decodeTyped(bytes, LIMITS))
  const value = attempt(() => decodeValue(bytes, LIMITS))
  // What one takes the other takes.
  expect(value === undefined).toBe(typed === undefined)
  if (value === undefined || typed === undefined) return false
  // A plain bigint is a long, so a ulong above those is the one value that comes in and does not go out.
  const again = attempt(() => encodeValue(value), 'is not a long')
  if (again) expect(loose(decodeValue(again, LIMITS))).toEqual(loose(value))
  expect(decodeTyped(encodeValue(typed), LIMITS)).toEqual(typed)
  inspect(value)
  return true
}

function feedMessage(bytes: Uint8Array): boolean {
  const message = attempt(() => decodeMessage(bytes, LIMITS))
  if (!message) return false
  for (const section of [
    'header',
    'properties',
    'messageAnnotations',
    'applicationProperties',
    'body',
    'footer',
  ] as const)
    attempt(() => inspect(message[section]))
  attempt(() => JSON.stringify(message.properties))
  const init = attempt(() => message.toInit())
  if (!init) return false
  // Described application properties are read and not written; anything else that was read can be sent on.
  const again = attempt(
    () => encodeMessage(init),
    'is not a long',
    'application properties hold values of simple types',
  )
  if (again) expect(loose(decodeMessage(again, LIMITS).toInit())).toEqual(loose(init))
  return true
}

test(`${RUNS} broken encodings, seed ${SEED}`, { timeout: 20_000 + RUNS * 2 }, () => {
  const sample = <T>(of: fc.Arbitrary<T>): T[] => fc.sample(of, { numRuns: ORIGINALS, seed: SEED })
  const values = sample(arbitrary.value as fc.Arbitrary<AmqpValue>).map(encodeValue)
  const messages = sample(arbitrary.message).map(encodeMessage)
  let taken = 0
  for (let run = 0; run < RUNS; run++) {
    const seed = (SEED + run) | 0
    const below = random(seed)
    const isValue = below(2) === 0
    const from = isValue ? values : messages
    const original = from[below(from.length)] as Uint8Array
    const input =
      below(20) === 0
        ? Uint8Array.from({ length: below(80) }, (_, i) => (i < 3 ? (original[i] ?? 0) : below(256)))
        : mutate(original, below)
    try {
      if (isValue ? feedValue(input) : feedMessage(input)) taken++
    } catch (error) {
      throw new Error(`seed ${seed}: ${Buffer.from(input).toString('hex')}: ${error}`, { cause: error })
    }
  }
  // Some changes do no harm, others do: both ways are taken.
  expect(taken).toBeGreaterThan(RUNS / 50)
  expect(taken).toBeLessThan(RUNS)
})
