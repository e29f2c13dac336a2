/** What can be told to be wrong with a message before it is sent. */

import type { SenderEndpoint } from '../engine/sender-endpoint.ts'
import { UsageError } from '../errors.ts'
import { checkMessageFormat, EncodedMessage } from '../message/encode.ts'
import type { MessageInit } from '../message/message.ts'
import type { SendOptions } from './options.ts'

/** @throws {UsageError} it is no message, or its options mean nothing */
export function checkSend(message: unknown, options: SendOptions): void {
  checkSendNames(options)
  const { deliveryTag, messageFormat } = options
  if (typeof message !== 'object' || message === null)
    throw new UsageError('a message is an object such as { body: … }', '3.2')
  if (deliveryTag !== undefined && !(deliveryTag instanceof Uint8Array))
    throw new UsageError('a delivery-tag is a Uint8Array of at most 32 bytes', '2.8.7')
  if (messageFormat !== undefined) checkMessageFormat(messageFormat)
}

const OPTIONS = 'signal, settled, transaction, deliveryTag, messageFormat'

/** A `switch`, as every message comes by here. @throws {UsageError} there is no such option */
function checkSendNames(options: SendOptions): void {
  for (const name in options)
    switch (name as keyof SendOptions) {
      case 'signal':
      case 'settled':
      case 'transaction':
      case 'deliveryTag':
      case 'messageFormat':
        break
      default:
        if (options[name as keyof SendOptions] !== undefined)
          throw new UsageError(`there is no option of send named ${JSON.stringify(name)}, only ${OPTIONS}`)
    }
}

/** @throws {UsageError} the peer does not take messages of so many bytes */
export function checkSize({ label, remoteMaxMessageSize: max }: SenderEndpoint, size: number): void {
  if (max > 0n && size > max)
    throw new UsageError(`a message of ${size} bytes is too large for ${label}, which takes ${max}`, '2.7.3')
}

/** @throws {UsageError} it goes over a link without a target, and does not say where to */
export function checkAddressed({ label }: SenderEndpoint, message: MessageInit | EncodedMessage): void {
  if (message instanceof EncodedMessage || message.properties?.to) return
  throw new UsageError(`${label} has no target: each message says where it goes, in properties.to`, '3.2.4')
}
