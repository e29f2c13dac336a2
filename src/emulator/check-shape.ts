/** Objects that an emulator is handed: names that mean nothing, and values of another type, are told. */

import { UsageError } from '../errors.ts'
import { checkNames } from '../iothub/check-names.ts'

/** What a field may be. `'any'` is looked at elsewhere, or not at all. */
export type Kind =
  | 'any'
  | 'bytes'
  | 'class'
  | 'count'
  | 'date'
  | 'flag'
  | 'function'
  | 'number'
  | 'object'
  | 'port'
  | 'seconds'
  | 'text'
  | 'texts'

/** Every name of an interface, so that one that is added to it and not here does not compile. */
export type Shape<T> = Readonly<Record<keyof T, Kind>>

const isText = (value: unknown): boolean => typeof value === 'string'
const isNumber = (value: unknown): value is number => typeof value === 'number' && !Number.isNaN(value)
const isAmount = (value: unknown): value is number => isNumber(value) && value >= 0

const KINDS: Readonly<Record<Kind, readonly [words: string, fits: (value: unknown) => boolean]>> = {
  any: ['', () => true],
  bytes: ['a text or bytes', value => isText(value) || value instanceof Uint8Array],
  class: ['a class', value => typeof value === 'function'],
  count: ['a whole number, 0 or more', value => isAmount(value) && Number.isInteger(value)],
  date: ['a date', value => value instanceof Date && !Number.isNaN(value.getTime())],
  flag: ['true or false', value => typeof value === 'boolean'],
  function: ['a function', value => typeof value === 'function'],
  number: ['a number', isNumber],
  object: ['an object', value => typeof value === 'object' && value !== null],
  port: ['a port, 0 … 65535', value => isAmount(value) && Number.isInteger(value) && value < 65_536],
  seconds: ['a number, 0 or more', isAmount],
  text: ['a text', isText],
  texts: ['a list of texts', value => Array.isArray(value) && value.every(isText)],
}

/**
 * What is undefined was not given.
 *
 * @param kind  of a field, e.g. `option of invokeMethod`
 * @throws {UsageError} `given` is no object, or a field has a name that is not known or a value of another type
 */
export function checkShape(kind: string, given: object, shape: Readonly<Record<string, Kind>>): void {
  checkNames(kind, given, shape)
  for (const [name, of] of Object.entries(shape)) {
    const value = (given as Readonly<Record<string, unknown>>)[name]
    const [words, fits] = KINDS[of]
    if (value !== undefined && !fits(value)) throw new UsageError(`IoT Hub: the ${kind} named "${name}" is ${words}`)
  }
}
