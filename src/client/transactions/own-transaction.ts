/** Tells transactions of ours from what else a caller may give, without loading what a transaction is. §4.4 */

import { UsageError } from '../../errors.ts'
import type { Session } from '../api.ts'
import type { Transaction } from '../api-transactions.ts'
import type { ClientTransaction } from './transaction.ts'

/** Only `ClientTransaction` is one. */
export abstract class OwnTransaction {}

/** The transaction behind what a caller gave, if work may be done under it. @throws as `ClientTransaction.check` */
export function liveTransaction(given: Transaction, session: Session): ClientTransaction {
  if (!(given instanceof OwnTransaction)) throw new UsageError('that is no transaction of this library’s')
  const own = given as unknown as ClientTransaction
  own.check(session)
  return own
}
