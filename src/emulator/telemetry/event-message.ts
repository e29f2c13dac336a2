/**
 * Telemetry as an event hub hands it out: what a device sent, and what the hub says of it in annotations.
 *
 * Facts: spec-notes/iothub.md, events.
 */

import type { MessageInit } from '../../message/message.ts'
import { long } from '../../types/values.ts'
import type { RecordedTelemetry } from './event-log.ts'

/** The AMQP message of an event. */
export function eventMessage(event: RecordedTelemetry): MessageInit {
  const { deviceId, moduleId, messageId, correlationId, userId, contentType, contentEncoding, enqueuedAt } = event
  const { scope, type } = event.authentication ?? { scope: moduleId === undefined ? 'device' : 'module', type: 'sas' }
  return {
    messageAnnotations: {
      'x-opt-sequence-number': long(event.sequenceNumber),
      'x-opt-offset': event.offset,
      'x-opt-enqueued-time': enqueuedAt,
      'x-opt-partition-key': deviceId,
      'iothub-connection-device-id': deviceId,
      'iothub-connection-module-id': moduleId,
      'iothub-connection-auth-generation-id': event.generationId,
      'iothub-connection-auth-method': JSON.stringify({ scope, type, issuer: 'iothub' }),
      'iothub-enqueuedtime': enqueuedAt,
      'iothub-message-source': 'Telemetry',
      ...Object.fromEntries(event.annotations ?? []),
    },
    properties: {
      ...{ messageId, userId, to: event.to, correlationId, contentType, contentEncoding },
      absoluteExpiryTime: event.expiry,
    },
    ...(event.properties.size > 0 && { applicationProperties: event.properties }),
    body: event.body,
  }
}
