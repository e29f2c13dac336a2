/** Names that mean nothing are told, so that a slip does not pass for a default. */

import type { Abortable } from '../client/options.ts'
import { UsageError } from '../errors.ts'

/** Every name of an interface, so that one that is added to it and not here does not compile. */
export type Names<T> = Readonly<Record<keyof T, 0>>

/**
 * One that is undefined is one that was not given, whatever its name.
 *
 * @param kind  of the name, e.g. `option of IotHubEmulator.start`
 * @throws {UsageError} there is a name that is not known, or `given` is no object
 */
export function checkNames(kind: string, given: object, known: Readonly<Record<string, unknown>>): void {
  if (typeof given !== 'object' || given === null)
    throw new UsageError(`IoT Hub: each ${kind} is in an object, and this is ${given === null ? given : typeof given}`)
  for (const name of Object.keys(given))
    if (!Object.hasOwn(known, name) && (given as Readonly<Record<string, unknown>>)[name] !== undefined)
      throw new UsageError(
        `IoT Hub: there is no ${kind} named ${JSON.stringify(name)}; there are ${Object.keys(known).join(', ')}`,
      )
}

const ABORTABLE: Names<Abortable> = { signal: 0 }

/**
 * Options of a method that has none but `signal`.
 *
 * @throws {UsageError} there is another, or the signal itself is in their place
 */
export function checkAbortable(method: string, options: Abortable): void {
  if (options instanceof AbortSignal)
    throw new UsageError(`IoT Hub: the options of ${method} are in an object: { signal }, not the signal itself`)
  checkNames(`option of ${method}`, options, ABORTABLE)
}
