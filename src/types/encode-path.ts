/** Where in a value an encode error happened: each level that it passes puts its own key in front. */

import { EncodeError } from '../errors.ts'

/** An encode error as it looks from one level up. Anything else than an `EncodeError` passes through. */
export function encodeErrorWithin(segment: string | number, error: unknown): unknown {
  if (!(error instanceof EncodeError)) return error
  return new EncodeError(error.reason, error.path === '' ? `${segment}` : `${segment}.${error.path}`)
}
