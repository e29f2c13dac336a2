/** JSON texts as bodies of messages: one data section, UTF-8. Methods, twins and their answers have nothing else. §3.2.6 */

import { UsageError } from '../errors.ts'
import type { Body } from '../message/message.ts'

/** What a body says: `undefined` where there is nothing but white space. `isValid` is false for what is no JSON. */
export type JsonBody = { readonly isValid: true; readonly value: unknown } | { readonly isValid: false }

/** Reads a body of data, or of a text. */
export function readJsonBody(body: Body): JsonBody {
  const text = bodyText(body)
  if (text === undefined) return { isValid: false }
  if (text.trim() === '') return { isValid: true, value: undefined }
  try {
    return { isValid: true, value: JSON.parse(text) }
  } catch {
    return { isValid: false }
  }
}

/**
 * The bytes of a value as JSON; `undefined` becomes `null`.
 *
 * @param what  of which it is, for the error
 * @throws {UsageError} it has no JSON: a bigint, a cycle, a function
 */
export function jsonBytes(value: unknown, what: string): Uint8Array {
  let text: string | undefined
  try {
    text = value === undefined ? 'null' : JSON.stringify(value)
  } catch {
    // Said below.
  }
  if (text === undefined) throw new UsageError(`${what} cannot be written as JSON`)
  return new TextEncoder().encode(text)
}

function bodyText(body: Body): string | undefined {
  if (typeof body === 'string') return body
  if (body instanceof Uint8Array) return decodeUtf8([body])
  if ('data' in body) return decodeUtf8(body.data)
  return 'value' in body && typeof body.value === 'string' ? body.value : undefined
}

function decodeUtf8(pieces: readonly Uint8Array[]): string {
  const decoder = new TextDecoder()
  return pieces.map(piece => decoder.decode(piece, { stream: true })).join('') + decoder.decode()
}
