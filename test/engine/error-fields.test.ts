/** Errors that are to be sent: whole where they fit, cut where they do not, and what an engine answers for an owner. §2.8.14 */

import { describe, expect, test } from 'vitest'
import {
  ACCEPTED,
  type DeliveryState,
  deliveryStateField,
  modified,
  RELEASED,
} from '../../src/definitions/delivery-state.ts'
import { error as errorTable } from '../../src/definitions/error.ts'
import { type ErrorFields, echoed, fitted, fittedState } from '../../src/engine/error-fields.ts'
import { refusal } from '../../src/engine/refusal.ts'
import { EncodeError, UsageError } from '../../src/errors.ts'
import { fields } from '../../src/types/composite.ts'
import type { AmqpValue } from '../../src/types/values.ts'
import { Writer } from '../../src/types/writer.ts'

/** What is left for the error in a frame of 512 bytes. */
const ROOM = 512 - 128

const sizeOf = (error: ErrorFields): number => {
  const writer = new Writer()
  errorTable.write(writer, error)
  return writer.offset
}
const sizeOfState = (state: DeliveryState): number => {
  const writer = new Writer()
  deliveryStateField.write(writer, state)
  return writer.offset
}

describe('§2.8.14 an error', () => {
  const info = fields({ reason: 'x'.repeat(400) })

  test('goes as it is when it fits', () => {
    const error: ErrorFields = { condition: 'c', description: 'why', info: fields({ a: 1 }) }
    expect(fitted(error, 512)).toBe(error)
    expect(fitted({ condition: 'c' }, 512)).toEqual({ condition: 'c' })
  })

  test('loses its info first', () => {
    expect(fitted({ condition: 'c', description: 'why', info }, 512)).toEqual({
      type: 'error',
      condition: 'c',
      description: 'why',
    })
    expect(fitted({ condition: 'c', info }, 512)).toEqual({ type: 'error', condition: 'c', description: undefined })
  })

  test.each([
    ['ASCII', 'x'],
    ['two bytes a character', 'é'],
    ['three bytes a character', '€'],
    ['a pair of surrogates a character', '\u{1f600}'],
  ])('then the end of its description: %s', (_what, character) => {
    const description = character.repeat(1000)
    const short = fitted({ condition: 'amqp:internal-error', description, info }, 512)
    expect(short.condition).toBe('amqp:internal-error')
    expect(short.info).toBeUndefined()
    expect(short.description?.length).toBeGreaterThan(50)
    // A pair that was cut in two has no UTF-8 form: what is left of it becomes U+FFFD.
    expect(description.startsWith(short.description?.replace(/\ufffd$/, '') ?? '-')).toBe(true)
    expect(sizeOf(short)).toBeLessThanOrEqual(ROOM)
  })

  test('keeps its condition however long that is, and then nothing else', () => {
    const condition = `x:${'y'.repeat(400)}`
    expect(fitted({ condition, description: 'why', info }, 512)).toEqual({ type: 'error', condition, description: '' })
    expect(fitted({ condition, info }, 512)).toEqual({ type: 'error', condition, description: '' })
  })

  test('that cannot be encoded, or not into any frame of the peer’s, is refused', () => {
    expect(() => fitted({ condition: 'é' }, 512)).toThrow(EncodeError)
    expect(() => fitted({ condition: `x:${'y'.repeat(500)}` }, 512)).toThrow(UsageError)
  })
})

describe('§3.4 a state', () => {
  test('of the shared ones, and any that fits, goes as it is', () => {
    for (const state of [
      ACCEPTED,
      RELEASED,
      { type: 'rejected', error: undefined } as const,
      { type: 'received', sectionNumber: 0, sectionOffset: 5n } as const,
    ])
      expect(fittedState(state, 512)).toBe(state)
  })

  test('§3.4.3 rejected: its error is cut to fit', () => {
    const error = { type: 'error', condition: 'c', description: 'x'.repeat(5000), info: undefined } as const
    const state = fittedState({ type: 'rejected', error }, 512)
    expect(state).toMatchObject({ type: 'rejected', error: { condition: 'c' } })
    expect(sizeOfState(state)).toBeLessThanOrEqual(512 - 100)
  })

  test('§3.4.5 modified: what does not fit is refused, since its annotations cannot be cut', () => {
    const of = (length: number): DeliveryState => ({
      type: modified.name as 'modified',
      deliveryFailed: true,
      undeliverableHere: false,
      messageAnnotations: fields({ a: 'x'.repeat(length) }),
    })
    const rest = sizeOfState(of(100)) - 100
    expect(fittedState(of(ROOM - rest - 20), 512)).toMatchObject({ type: 'modified' })
    expect(() => fittedState(of(ROOM), 512)).toThrow(UsageError)
    expect(() => fittedState(of(ROOM), 512)).toThrow("does not fit the peer's frames of 512")
  })
})

describe('a state of the peer’s, said back to it', () => {
  test('goes as it is where it can be written, and else not at all', () => {
    const modified = (value: AmqpValue) =>
      ({ type: 'modified', deliveryFailed: false, undeliverableHere: false, messageAnnotations: fields({ value }) }) as
        | DeliveryState
        | undefined
    expect([echoed(undefined, 512), echoed(ACCEPTED, 512)]).toEqual([undefined, ACCEPTED])
    expect(echoed(modified(1), 512)).toEqual(modified(1))
    expect([echoed(modified(2n ** 63n), 512), echoed(modified('x'.repeat(500)), 512)]).toEqual([undefined, undefined])
  })
})

describe('what an engine does for an owner', () => {
  test('that it cannot be done is an answer', () => {
    expect(refusal(() => {})).toBeUndefined()
    for (const why of [new UsageError('no handle is left'), new EncodeError('a ulong is no long')])
      expect(
        refusal(() => {
          throw why
        }),
      ).toBe(why)
  })

  test('a bug is none', () => {
    const bug = new RangeError('a bug')
    expect(() =>
      refusal(() => {
        throw bug
      }),
    ).toThrow(bug)
  })
})
