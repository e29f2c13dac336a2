/** Every composite table of src/definitions, found by looking at what the files export. */

import * as deliveryState from '../../src/definitions/delivery-state.ts'
import * as error from '../../src/definitions/error.ts'
import * as performatives from '../../src/definitions/performatives.ts'
import * as sasl from '../../src/definitions/sasl.ts'
import * as sections from '../../src/definitions/sections.ts'
import * as terminus from '../../src/definitions/terminus.ts'
import * as transactions from '../../src/definitions/transactions.ts'
import type { Composite } from '../../src/types/composite.ts'

const isComposite = (value: unknown): value is Composite<unknown> =>
  typeof value === 'object' && value !== null && 'fields' in value && 'code' in value

/** Table name as exported → table. */
export const tables: ReadonlyMap<string, Composite<unknown>> = new Map(
  [deliveryState, error, performatives, sasl, sections, terminus, transactions]
    .flatMap(module => Object.entries(module as Record<string, unknown>))
    .filter((entry): entry is [string, Composite<unknown>] => isComposite(entry[1])),
)

/** The table with this code. */
export function tableOf(code: number): Composite<unknown> {
  const found = [...tables.values()].find(table => table.code === code)
  if (!found) throw new Error(`no table for 0x${code.toString(16)}`)
  return found
}
