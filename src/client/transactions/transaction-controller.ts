/** The control link of a session: declares transactions and discharges them. §4.2 §4.3 §4.5.2 */

import type { DeliveryState } from '../../definitions/delivery-state.ts'
import { Section } from '../../definitions/sections.ts'
import type { Coordinator } from '../../definitions/terminus.ts'
import { declare, discharge, TransactionCapability } from '../../definitions/transactions.ts'
import type { OutgoingDelivery } from '../../engine/outgoing-delivery.ts'
import { TransactionError, UsageError } from '../../errors.ts'
import { EncodedMessage } from '../../message/encode.ts'
import type { AmqpValue } from '../../types/values.ts'
import { Writer } from '../../types/writer.ts'
import type { Closure, Session } from '../api.ts'
import { abortable, deferred, handled } from '../operation.ts'
import type { TransactionOptions } from '../options.ts'
import type { ClientSender } from '../sender.ts'
import { ClientTransaction, type TransactionOwner } from './transaction.ts'

/** What is wished for; what there is the coordinator says. §4.5.7 */
const WANTED: readonly string[] = [
  TransactionCapability.localTransactions,
  TransactionCapability.multiTxnsPerSsn,
  TransactionCapability.multiSsnsPerTxn,
]

/** A coordinator that may not reject could only end the link. §4.2 */
const OUTCOMES: readonly string[] = [
  'amqp:accepted:list',
  'amqp:rejected:list',
  'amqp:released:list',
  'amqp:modified:list',
]

/** What a controller needs of its session. */
export interface ControllerSession extends Session {
  readonly closeMs: number
  readonly flushed: Set<() => void>
  /** Why the session, or the connection under it, has ended; `undefined` while it lives. */
  readonly closure: Closure | undefined
  touch(): void
}

export class TransactionController {
  readonly #session: ControllerSession
  /** The control link; attached again for the next transaction after it has ended. */
  #link: Promise<ControlLink> | undefined

  constructor(session: ControllerSession) {
    this.#session = session
  }

  async declare({ signal, globalId }: TransactionOptions): Promise<ClientTransaction> {
    const link = await until(this.#control(), signal, () => {})
    const declared = link.declare(globalId)
    return until(declared, signal, () => {
      declared.then(
        transaction => void handled(transaction.rollback()),
        () => {},
      )
    })
  }

  #control(): Promise<ControlLink> {
    if (this.#link) return this.#link
    const link = this.#attach()
    this.#link = link
    const forget = () => {
      if (this.#link === link) this.#link = undefined
    }
    link.then(control => control.sender.closed.then(forget), forget)
    return link
  }

  async #attach(): Promise<ControlLink> {
    const sender = await this.#session.sender(
      { coordinator: true, capabilities: WANTED },
      { name: `txn-ctl-${globalThis.crypto.randomUUID()}`, settle: 'unsettled', source: { outcomes: OUTCOMES } },
    )
    return new ControlLink(this.#session, sender as ClientSender)
  }
}

/** A promise that is the work of several: a signal stops the waiting, not the work. */
function until<T>(promise: Promise<T>, signal: AbortSignal | undefined, cancel: () => void): Promise<T> {
  if (!signal) return promise
  const waiting = deferred<T>()
  promise.then(waiting.resolve, waiting.reject)
  return abortable(waiting, signal, cancel)
}

class ControlLink implements TransactionOwner {
  readonly session: ControllerSession
  readonly sender: ClientSender
  readonly #transactions = new Set<ClientTransaction>()
  readonly #capabilities: readonly string[]
  #declaring = 0

  constructor(session: ControllerSession, sender: ClientSender) {
    this.session = session
    this.sender = sender
    this.#capabilities = (sender.endpoint.remoteTarget as Coordinator | undefined)?.capabilities ?? []
    sender.closed.then(closure => {
      for (const transaction of [...this.#transactions]) transaction.lost(closure)
    })
  }

  /** One that names no capabilities has not said that it lacks any. D-037 */
  #offers(capability: string): boolean {
    return this.#capabilities.length === 0 || this.#capabilities.includes(capability)
  }

  get spansSessions(): boolean {
    return this.#offers(TransactionCapability.multiSsnsPerTxn)
  }

  get lost(): Closure | undefined {
    return this.session.closure ?? this.sender.closure
  }

  get closeMs(): number {
    return this.session.closeMs
  }

  get flushed(): Set<() => void> {
    return this.session.flushed
  }

  touch(): void {
    this.session.touch()
  }

  forget(transaction: ClientTransaction): void {
    this.#transactions.delete(transaction)
  }

  async declare(globalId: AmqpValue | undefined): Promise<ClientTransaction> {
    if (globalId !== undefined && !this.#capabilities.includes(TransactionCapability.distributedTransactions))
      throw new UsageError('the coordinator has no distributed transactions: no global-id', '4.5.2')
    const isBusy = this.#declaring + this.#transactions.size > 0
    if (isBusy && !this.#offers(TransactionCapability.multiTxnsPerSsn))
      throw new UsageError('the coordinator allows one transaction at a time on a session', '4.5.7')
    this.#declaring++
    let state: DeliveryState | undefined
    try {
      state = await this.sender.request(message(writer => declare.write(writer, { globalId }))).answer
    } finally {
      this.#declaring--
    }
    if (state?.type !== 'declared') throw refusal(state)
    // A view of what arrived would keep all of that alive.
    const transaction = new ClientTransaction(this, state.txnId.slice())
    this.#transactions.add(transaction)
    if (this.lost) transaction.lost(this.lost)
    return transaction
  }

  discharge(
    txnId: Uint8Array,
    fail: boolean,
  ): { delivery: OutgoingDelivery; answer: Promise<DeliveryState | undefined> } {
    return this.sender.request(message(writer => discharge.write(writer, { txnId, fail })))
  }
}

function refusal(state: DeliveryState | undefined): TransactionError {
  const error = state?.type === 'rejected' ? state.error : undefined
  const what = error?.condition ?? `it answered with ${state?.type ?? 'nothing'}`
  const why = error?.description ? `${what} (${error.description})` : what
  return new TransactionError(`the coordinator declared no transaction: ${why}`, 'rolled-back', {
    condition: error?.condition,
  })
}

/** A message of one amqp-value section. §4.2 */
function message(write: (writer: Writer) => void): EncodedMessage {
  const writer = new Writer()
  writer.writeDescriptor(Section.amqpValue)
  write(writer)
  return new EncodedMessage(writer.copy())
}
