/**
 * The pair of links on which a device talks to the Device Provisioning Service: one question at a time, each with a
 * correlation-id of its own, and asked again when the service says that it may help.
 *
 * Facts: spec-notes/iothub.md, provisioning.
 */

import type { Connection, Delivery, Receiver, Sender } from '../../client/api.ts'
import type { Abortable } from '../../client/options.ts'
import { assertAccepted, type Outcome } from '../../client/outcome.ts'
import type { RemoteError } from '../../errors.ts'
import type { MessageInit } from '../../message/message.ts'
import { attachProperties } from '../connection/hub-options.ts'
import {
  type ProvisioningAnswer,
  type Registration,
  type RegistrationState,
  readAnswer,
  readRefusal,
  registerMessage,
  statusMessage,
} from './provisioning-message.ts'

/** Both links. Make it with {@link ProvisioningLink.attach}. */
export class ProvisioningLink {
  readonly #receiver: Receiver
  readonly #sender: Sender

  private constructor(receiver: Receiver, sender: Sender) {
    this.#receiver = receiver
    this.#sender = sender
  }

  /** Attaches the receiver, then the sender, as the service wants it. @throws {RemoteError} it refused one of them */
  static async attach(connection: Connection, address: string, { signal }: Abortable): Promise<ProvisioningLink> {
    const properties = { ...attachProperties, 'com.microsoft:api-version': '2019-03-31' }
    const receiver = await connection.receiver(address, { properties, signal })
    return new ProvisioningLink(receiver, await connection.sender(address, { properties, signal }))
  }

  /**
   * Registers, and asks until the device is assigned.
   *
   * @throws {RemoteError} it was refused, or the registration failed or is disabled
   * Cancellation: the service may assign the device all the same.
   */
  async register(registration: Registration, force: boolean, { signal }: Abortable): Promise<RegistrationState> {
    const { registrationId } = registration
    let answer = await this.#ask(id => registerMessage(registration, force, id), registrationId, signal)
    while (answer.status === 'assigning') {
      const { operationId, retryAfterMs } = answer
      await pause(retryAfterMs, signal)
      answer = await this.#ask(id => statusMessage(operationId, id), registrationId, signal)
    }
    return answer.state
  }

  async #ask(
    message: (correlationId: string) => MessageInit,
    registrationId: string,
    signal: AbortSignal | undefined,
  ): Promise<ProvisioningAnswer> {
    for (;;) {
      const correlationId = globalThis.crypto.randomUUID()
      const outcome = await this.#sender.send(message(correlationId), { signal })
      const error = rejectionOf(outcome)
      if (error === undefined) {
        assertAccepted(outcome)
        return readAnswer((await this.#answerTo(correlationId, signal)).message, registrationId)
      }
      const refusal = readRefusal(error, registrationId)
      if (!refusal.isPassing) throw refusal.error
      await pause(refusal.retryAfterMs, signal)
    }
  }

  /** Passes over what answers a question that was given up. */
  async #answerTo(correlationId: string, signal: AbortSignal | undefined): Promise<Delivery> {
    for (;;) {
      const delivery = await this.#receiver.receive({ signal })
      await delivery.accept()
      if (delivery.message.properties?.correlationId === correlationId) return delivery
    }
  }
}

/** Where the service does not say; and the least, so that nobody is asked without a pause. */
const RETRY_AFTER_MS = 2000
const LEAST_MS = 50
const MOST_MS = 2 ** 31 - 1

function rejectionOf(outcome: Outcome): RemoteError | undefined {
  return outcome.outcome === 'rejected' ? (outcome.error as RemoteError | undefined) : undefined
}

function pause(ms: number | undefined, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      },
      Math.min(Math.max(ms ?? RETRY_AFTER_MS, LEAST_MS), MOST_MS),
    )
    const onAbort = (): void => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    if (signal?.aborted) onAbort()
    else signal?.addEventListener('abort', onAbort, { once: true })
  })
}
