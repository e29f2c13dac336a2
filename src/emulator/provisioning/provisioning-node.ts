/**
 * The provisioning service as one connection sees it: links to `{idScope}/registrations/{registrationId}`, requests on
 * one, answers on the other.
 *
 * A device that logged in by SASL PLAIN has proved which registration is its own; one with a certificate has it read
 * when it registers. A request that cannot be served is rejected, with a description in JSON. Facts: spec-notes/iothub.md,
 * provisioning.
 */

import type { Delivery, IncomingLink, Sender } from '../../client/api.ts'
import type { ErrorInit } from '../../client/options.ts'
import { AmqpCondition, DecodeError } from '../../errors.ts'
import type { HubAddress } from '../../iothub/addresses.ts'
import type { Message, MessageInit, PropertiesInit } from '../../message/message.ts'
import { int } from '../../types/values.ts'
import type { ClientCertificate } from '../certificates/client-certificate.ts'
import type { ConnectionFaults } from '../faults/connection-faults.ts'
import type { Operation, Proof, ProvisioningService } from './provisioning-service.ts'

type ProvisioningAddress = Extract<HubAddress, { kind: 'provisioning' }>

/** What a connection that logged in by PLAIN is called; JSON behind it. No hub's login begins with it. */
const PREFIX = 'provisioning '

/**
 * Verifies a login by SASL PLAIN.
 *
 * @returns text for {@link ProvisioningNode}, or `false`
 */
export async function checkProvisioningLogin(
  service: ProvisioningService,
  username: string,
  token: string,
): Promise<string | false> {
  const key = await service.keyOf(username, token)
  return key !== undefined && `${PREFIX}${JSON.stringify({ username, key })}`
}

/** Whether the identity of a connection is that of a device that wants to be provisioned. */
export function isProvisioningIdentity(identity: string): boolean {
  return identity.startsWith(PREFIX)
}

/** One connection to the service. */
export class ProvisioningNode {
  readonly #service: ProvisioningService
  readonly #certificate: Promise<ClientCertificate | undefined> | undefined
  readonly #login: { readonly username: string; readonly key: string } | undefined
  /** Where answers go, by registration id. */
  readonly #answers = new Map<string, Sender>()

  constructor(
    service: ProvisioningService,
    identity: string | undefined,
    certificate: Promise<ClientCertificate | undefined> | undefined,
  ) {
    this.#service = service
    this.#certificate = certificate
    this.#login = identity?.startsWith(PREFIX) ? JSON.parse(identity.slice(PREFIX.length)) : undefined
  }

  /** Takes a link, or refuses it. */
  async serve(link: IncomingLink, address: ProvisioningAddress, faults: ConnectionFaults): Promise<void> {
    const { idScope, registrationId } = address
    const proof = await this.#proofOf(idScope, registrationId)
    if (proof === undefined)
      return link.refuse(refusal(AmqpCondition.unauthorizedAccess, 401_002, 'this registration has not been proved'))
    if (link.remoteRole === 'receiver') {
      const sender = faults.sender(await link.accept(), link.source?.address ?? '')
      this.#answers.set(registrationId, sender)
      return
    }
    const receiver = faults.receiver(await link.accept({ settle: 'first' }), link.target?.address ?? '')
    for await (const delivery of receiver) await this.#take(delivery, registrationId, proof)
  }

  async #proofOf(idScope: string, registrationId: string): Promise<Proof | undefined> {
    if (idScope !== this.#service.idScope) return undefined
    const certificate = await this.#certificate
    if (certificate !== undefined) return { certificate }
    return this.#login?.username === `${idScope}/registrations/${registrationId}` ? { key: this.#login.key } : undefined
  }

  async #take(delivery: Delivery, registrationId: string, proof: Proof): Promise<void> {
    const answer = await this.#answer(delivery, registrationId, proof)
    if ('condition' in answer) return delivery.reject(answer)
    await delivery.accept()
    // Nothing depends on the outcome; without a link nobody wants to know.
    this.#answers
      .get(registrationId)
      ?.send(answer)
      .catch(() => {})
  }

  async #answer(delivery: Delivery, registrationId: string, proof: Proof): Promise<MessageInit | ErrorInit> {
    const message = readable(delivery)
    if (message === undefined) return { condition: AmqpCondition.decodeError }
    const { properties, applicationProperties } = message
    const operation = applicationProperties?.get('iotdps-operation-type')
    const id = applicationProperties?.get('iotdps-operation-id')
    if (operation === 'iotdps-register') {
      const registered = await this.#service.register(registrationId, proof)
      return registered === undefined
        ? refusal(AmqpCondition.unauthorizedAccess, 401_002, 'no enrolment fits this device')
        : answerMessage(registered, properties?.correlationId)
    }
    if (operation !== 'iotdps-get-operationstatus')
      return refusal(AmqpCondition.notAllowed, 400_004, 'the operation is not supported')
    const found = typeof id === 'string' ? this.#service.operation(id, registrationId) : undefined
    return found === undefined
      ? refusal(AmqpCondition.notFound, 404_201, 'there is no such operation')
      : answerMessage(found, properties?.correlationId)
  }
}

function readable(delivery: Delivery): Message | undefined {
  try {
    return delivery.message
  } catch (error) {
    if (error instanceof DecodeError) return undefined
    throw error
  }
}

function answerMessage(operation: Operation, correlationId: PropertiesInit['correlationId']): MessageInit {
  const { id, status, registrationState, retryAfter } = operation
  // The two spellings that clients look for.
  const wait = status === 'assigning' ? { 'retry-after': int(retryAfter), 'Retry-After': int(retryAfter) } : {}
  return {
    properties: { correlationId },
    applicationProperties: wait,
    body: new TextEncoder().encode(JSON.stringify({ operationId: id, status, registrationState })),
  }
}

function refusal(condition: string, errorCode: number, message: string): ErrorInit {
  const trackingId = globalThis.crypto.randomUUID()
  const timestampUtc = new Date().toISOString()
  return { condition, description: JSON.stringify({ errorCode, trackingId, message, timestampUtc }) }
}
