/**
 * The `$cbs` node of an emulated hub, as one connection sees it: takes tokens, verifies them, and answers.
 *
 * Clients depend on the order of things here: a request is settled before it is answered, every request is answered,
 * with its id in the type it came in, and an answer waits until the client has a link with credit for it. Failure is a
 * status in the answer; the links stay. Facts: spec-notes/cbs.md
 */

import type { Delivery, Receiver, Sender } from '../../client/api.ts'
import { AmqpCondition, DecodeError } from '../../errors.ts'
import type { Body, Message, PropertiesInit } from '../../message/message.ts'
import { int } from '../../types/values.ts'
import type { Authorisation } from '../authorisation.ts'
import { type Authentication, FAILURES } from '../device-registry.ts'
import { AnswerLinks, serveEach } from './answer-links.ts'

/** A request, taken apart. */
interface CbsRequest {
  readonly id: PropertiesInit['messageId']
  readonly replyTo: string | undefined
  readonly operation: unknown
  readonly type: unknown
  readonly name: unknown
  readonly token: unknown
}

interface Answer {
  readonly status: number
  readonly description: string
}

/** The node, for one connection. */
export class CbsNode {
  readonly #authenticate: (token: string) => Promise<Authentication>
  readonly #authorisation: Authorisation
  readonly #answers = new AnswerLinks()

  /** @param authenticate  verifies a token */
  constructor(authenticate: (token: string) => Promise<Authentication>, authorisation: Authorisation) {
    this.#authenticate = authenticate
    this.#authorisation = authorisation
  }

  /** Answers the requests of a link until it ends, one after the other. */
  receiveRequests(receiver: Receiver): Promise<void> {
    return serveEach(receiver, delivery => this.#serve(delivery))
  }

  /** Sends answers on a link until it ends. */
  sendAnswers(sender: Sender): void {
    this.#answers.add(sender)
  }

  async #serve(delivery: Delivery): Promise<void> {
    const request = readRequest(delivery)
    if (request?.id === undefined) {
      const description = 'a request must be a message with a message-id'
      await delivery.reject({
        condition: request ? AmqpCondition.invalidField : AmqpCondition.decodeError,
        description,
      })
      return
    }
    await delivery.accept()
    const { status, description } = await this.#answer(request)
    this.#answers.send({
      session: delivery.receiver.session,
      replyTo: request.replyTo,
      message: {
        properties: { correlationId: request.id },
        applicationProperties: { 'status-code': int(status), 'status-description': description },
      },
    })
  }

  async #answer({ operation, type, name, token }: CbsRequest): Promise<Answer> {
    if (typeof name !== 'string' || name === '') return { status: 400, description: 'name is missing' }
    if (name.length > MAX_NAME) return { status: 400, description: `name has more than ${MAX_NAME} characters` }
    if (operation === 'delete-token') {
      this.#authorisation.revoke(decoded(name))
      return { status: 200, description: 'OK' }
    }
    if (operation !== 'put-token') return { status: 400, description: 'operation is not put-token or delete-token' }
    if (typeof type !== 'string' || !tokenTypes.includes(type.toLowerCase()))
      return { status: 400, description: 'the token type is not supported' }
    if (typeof token !== 'string') return { status: 400, description: 'the body is not a string' }
    const authentication = await this.#authenticate(token)
    if (!authentication.ok) {
      const { reason } = authentication
      return { status: reason === 'malformed' ? 400 : 401, description: FAILURES[reason] }
    }
    this.#authorisation.grant(authentication.principal, authentication.token.expiresAt)
    return { status: 200, description: 'OK' }
  }
}

/** A scope, and room to spare. Peers that have no token yet may ask. */
const MAX_NAME = 8192

const tokenTypes: readonly string[] = ['servicebus.windows.net:sastoken', 'azure-devices.net:sastoken']

/** `undefined` for bytes that are no message. */
function readRequest(delivery: Delivery): CbsRequest | undefined {
  try {
    const message: Message = delivery.message
    const { applicationProperties, properties } = message
    return {
      id: properties?.messageId,
      replyTo: properties?.replyTo,
      operation: applicationProperties?.get('operation'),
      type: applicationProperties?.get('type'),
      name: applicationProperties?.get('name'),
      token: bodyValue(message.body),
    }
  } catch (error) {
    if (error instanceof DecodeError) return undefined
    throw error
  }
}

function bodyValue(body: Body): unknown {
  return typeof body === 'object' && 'value' in body ? body.value : body
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
