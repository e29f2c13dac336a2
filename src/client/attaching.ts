/** What the options of a link come to in its attach, and which are refused. §2.6.1 §2.7.3 */

import type { AttachInit } from '../engine/link-endpoint.ts'
import { UsageError } from '../errors.ts'
import { checkLinkOptions, checkTerminusNames } from './check-options.ts'
import type { ReceiverOptions, SenderOptions, TerminusInit } from './options.ts'
import { optionalFields } from './termini.ts'

/** Fields of an attach that options of either role give. */
export const attachFields = (options: SenderOptions | ReceiverOptions): AttachInit => ({
  properties: optionalFields(options.properties),
  maxMessageSize: options.maxMessageSize,
  desiredCapabilities: options.desiredCapabilities,
})

/** @throws {UsageError} neither an address, nor an object, nor null; a field or an option of a name that means nothing */
export function checkLink(
  role: 'sender' | 'receiver',
  terminus: unknown,
  options: SenderOptions | ReceiverOptions,
): void {
  const what = role === 'sender' ? 'target' : 'source'
  if (typeof terminus !== 'string' && typeof terminus !== 'object')
    throw new UsageError(`a ${role} needs a ${what}: an address, an object, or null for none; not ${typeof terminus}`)
  if (typeof terminus === 'object' && terminus) checkTerminusNames(what, terminus)
  checkLinkOptions(role, options)
}

/** Deliveries that a receiver keeps coming, unless said otherwise. */
const DEFAULT_WINDOW = 100

/** Deliveries to keep coming; `undefined` for credit by hand. @throws {UsageError} credit of no known form */
export function windowOf({ credit, streaming }: ReceiverOptions): number | undefined {
  if (credit === 'manual') return undefined
  if (credit === undefined) return streaming ? 1 : DEFAULT_WINDOW
  const window: unknown = (credit as { window?: unknown } | null)?.window
  if (Number.isInteger(window) && (window as number) > 0 && (window as number) <= 0x7fffffff) return window as number
  throw new UsageError("credit is 'manual' or { window: n }, n from 1 to 2^31 − 1")
}

/** Says where the link goes, for whoever reads it in a message, and is unique. §2.6.1 */
export function linkName(terminus: string | TerminusInit | null): string {
  const address = typeof terminus === 'string' ? terminus : terminus?.address
  return `${address || 'link'}-${globalThis.crypto.randomUUID()}`
}
