/** The messages to a coordinator. The states it answers with are in `delivery-state.ts`. §4.5.2–3 */

import {
  type Archetype,
  anyField,
  archetype,
  booleanField,
  type Composite,
  composite,
  mandatory,
  optional,
} from '../types/composite.ts'
import type { AmqpValue } from '../types/values.ts'
import { transactionIdField } from './restricted.ts'

/** Asks for a transaction. §4.5.2 */
export interface Declare {
  readonly type: 'declare'
  readonly globalId: AmqpValue | undefined
}

/** Ends a transaction. §4.5.3 */
export interface Discharge {
  readonly type: 'discharge'
  readonly txnId: Uint8Array
  /** Roll back instead of committing. */
  readonly fail: boolean | undefined
}

/** The table of `Declare`. §4.5.2 */
export const declare: Composite<Declare> = /* @__PURE__ */ composite<Declare>({
  name: 'declare',
  code: 0x31,
  section: '4.5.2',
  fields: { globalId: optional(anyField) },
})

/** The table of `Discharge`. §4.5.3 */
export const discharge: Composite<Discharge> = /* @__PURE__ */ composite<Discharge>({
  name: 'discharge',
  code: 0x32,
  section: '4.5.3',
  fields: { txnId: mandatory(transactionIdField), fail: optional(booleanField) },
})

/** What a coordinator is sent, as the value of a message. §4.2 §4.3 */
export const coordinationField: Archetype<Declare | Discharge> = /* @__PURE__ */ archetype<Declare | Discharge>(
  'coordination',
  [declare, discharge],
)

/** What a coordinator may be able to do. §4.5.7 */
export const TransactionCapability = {
  localTransactions: 'amqp:local-transactions',
  distributedTransactions: 'amqp:distributed-transactions',
  promotableTransactions: 'amqp:promotable-transactions',
  multiTxnsPerSsn: 'amqp:multi-txns-per-ssn',
  multiSsnsPerTxn: 'amqp:multi-ssns-per-txn',
} as const
