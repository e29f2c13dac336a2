/** A scripted controller of transactions against a coordinator of ours: a control link, posting, receiving. §4 */

import type { Delivery, Receiver, Sender } from '../../src/client/api.ts'
import type { CoordinatedTransaction } from '../../src/client/api-transactions.ts'
import type { CoordinatorOptions, ReceiverOptions, SenderOptions } from '../../src/client/options.ts'
import type { Limits } from '../../src/engine/limits.ts'
import { coordinator, declare, discharge, type Fields, read, source, target } from '../peer/composites.ts'
import { any, match, type Script } from '../peer/script.ts'
import { encode, fromHex, type Wire } from '../peer/wire.ts'
import { quiet, scriptedServer } from './scripted-connection.ts'

export const one = Uint8Array.of(0, 0x53, 0x75, 0xa0, 1, 9)
export const CAPABILITIES = ['amqp:local-transactions', 'amqp:multi-txns-per-ssn', 'amqp:multi-ssns-per-txn']
export const unknown = Uint8Array.of(9, 9, 9)

export const asMessage = (value: Wire): Uint8Array =>
  encode({ t: 'described', v: { descriptor: { t: 'ulong', v: 0x77n }, value } })

/** Rejected with this condition. §4.5.8 */
export const rejecting = (condition: string) =>
  match(`rejected with ${condition}`, value => {
    const known = value && read(value)
    const inner = known?.fields.error && read(known.fields.error)
    return known?.name === 'rejected' && inner?.fields.condition?.v === condition
  })

export const flowOf = (fields: Fields) => ({
  nextIncomingId: any,
  incomingWindow: any,
  nextOutgoingId: any,
  outgoingWindow: any,
  deliveryCount: any,
  ...fields,
})

/** The script's controller, with a control link on handle 0, and counters of its own. */
async function controller(
  options: CoordinatorOptions = {},
  { outcomes, accept, limits }: { outcomes?: string[]; accept?: ReceiverOptions; limits?: Partial<Limits> } = {},
) {
  const log: [string, CoordinatedTransaction][] = []
  const s = await scriptedServer({
    ...(limits && { limits }),
    coordinator: {
      ...options,
      commit: async transaction => {
        log.push(['commit', transaction])
        await options.commit?.(transaction)
      },
      rollback: transaction => log.push(['rollback', transaction]),
    },
  })
  const arrived: Delivery[] = []
  const take = async (receiver: Receiver) => {
    for await (const delivery of receiver) arrived.push(delivery)
  }
  return { ...s, log, arrived, take, outcomes, accept }
}

type Controller = Awaited<ReturnType<typeof controller>>

export async function attached(
  options?: CoordinatorOptions,
  setting?: { outcomes?: string[]; accept?: ReceiverOptions; limits?: Partial<Limits> },
) {
  const c = await controller(options, setting)
  return Object.assign(new Controlling(c), c)
}

export class Controlling {
  readonly peer: Script
  readonly #c: Controller
  #deliveryId = 0

  constructor(c: Controller) {
    this.#c = c
    this.peer = c.peer
  }

  /** The control link. §4.2 */
  async control(offered = CAPABILITIES): Promise<this> {
    const { outcomes } = this.#c
    const terminus = { source: source({ outcomes }), target: coordinator({ capabilities: CAPABILITIES[0] }) }
    this.peer.sendAttach({ name: 'ctl', handle: 0, role: 'sender', ...terminus })
    await quiet()
    const answer = { name: 'ctl', handle: 0, role: 'receiver', source: any, maxMessageSize: any }
    this.peer.expectAttach({ ...answer, target: coordinator({ capabilities: offered }) })
    this.peer.expectFlow(flowOf({ handle: 0, linkCredit: 100 }))
    return this
  }

  /** Sends on a handle; gives the delivery-id. */
  post(handle: number, payload: Uint8Array, fields: Fields = {}): number {
    const deliveryId = this.#deliveryId++
    this.peer.sendTransfer({ handle, deliveryId, deliveryTag: Uint8Array.of(deliveryId), ...fields }, payload)
    return deliveryId
  }

  /** A txn-id. §4.5.2 §4.5.5 */
  async declare(fields: Fields = {}): Promise<Uint8Array> {
    const first = this.post(0, asMessage(declare(fields)))
    await quiet()
    let txnId: Uint8Array | undefined
    const state = match('declared', value => {
      const known = value && read(value)
      if (known?.name !== 'declared') return false
      txnId = fromHex(String(known.fields.txnId?.v))
      return true
    })
    this.peer.expectDisposition({ role: 'receiver', first, settled: true, state })
    return txnId as unknown as Uint8Array
  }

  /** §4.5.3 */
  async discharge(txnId: Uint8Array, fail?: boolean): Promise<number> {
    const deliveryId = this.post(0, asMessage(discharge({ txnId, fail })))
    await quiet()
    return deliveryId
  }

  answered(first: number, state: Wire | ReturnType<typeof match>): void {
    this.peer.expectDisposition({ role: 'receiver', first, settled: true, state })
  }

  /** A link that the script sends by, on handle 1. */
  async posting(fields: Fields = {}): Promise<void> {
    const { session } = this.#c
    const taken = new Promise<void>(resolve =>
      session.on('link', async link => {
        if (link.remoteRole !== 'sender') return
        void this.#c.take(await link.accept(this.#c.accept ?? {}))
        resolve()
      }),
    )
    this.peer.sendAttach({ name: 'p', handle: 1, role: 'sender', ...fields })
    await taken
    await quiet()
    this.peer.expectAttach({
      name: 'p',
      handle: 1,
      role: 'receiver',
      source: any,
      target: any,
      rcvSettleMode: any,
      maxMessageSize: any,
    })
    this.peer.expectFlow(flowOf({ handle: 1, linkCredit: 100 }))
  }

  /** A link that the script receives by, on handle 1, and its sender. */
  async receiving(options: SenderOptions = {}, asked: Fields = {}, credit = 10): Promise<Sender> {
    const { session } = this.#c
    const taken = new Promise<Sender>(resolve =>
      session.on('link', async link => {
        if (link.remoteRole === 'receiver') resolve(await link.accept(options))
      }),
    )
    const terminus = { source: source({ address: 'a' }), target: target({ address: 'b' }) }
    this.peer.sendAttach({ name: 'r', handle: 1, role: 'receiver', ...terminus, ...asked })
    if (credit > 0) this.peer.sendFlow({ handle: 1, deliveryCount: 0, linkCredit: credit })
    const sender = await taken
    await quiet()
    const { sndSettleMode } = asked
    const modes = { sndSettleMode, initialDeliveryCount: 0 }
    this.peer.expectAttach({ name: 'r', handle: 1, role: 'sender', source: any, target: any, ...modes })
    return sender
  }
}

export const settled = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    value => value,
    error => error,
  )
