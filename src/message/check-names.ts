/**
 * Names of sections and of their fields: one that is unknown would be left out, and nobody would hear of it. §3.2
 *
 * Every message that is sent comes by here. A `switch` over texts that the compiler knows costs a third of a lookup in an
 * object or a set; the names that most messages have stand first.
 */

import { EncodeError } from '../errors.ts'
import type { HeaderInit, MessageInit, PropertiesInit } from './message.ts'

/** @throws {EncodeError} there is no such section; what is undefined or null was not given. §3.2 */
export function checkSections(init: object): void {
  for (const name in init)
    switch (name as keyof MessageInit) {
      case 'body':
      case 'properties':
      case 'applicationProperties':
      case 'header':
      case 'messageAnnotations':
      case 'deliveryAnnotations':
      case 'footer':
        break
      default:
        refuse('section', init, name)
    }
}

/** @throws {EncodeError} as `checkSections`; a `type` may say what it is. §3.2.1 */
export function checkHeader(init: object): void {
  for (const name in init)
    switch (name as keyof HeaderInit) {
      case 'durable':
      case 'priority':
      case 'ttl':
      case 'firstAcquirer':
      case 'deliveryCount':
        break
      default:
        refuse('header', init, name)
    }
}

/** @throws {EncodeError} as `checkHeader`. §3.2.4 */
export function checkProperties(init: object): void {
  for (const name in init)
    switch (name as keyof PropertiesInit) {
      case 'messageId':
      case 'to':
      case 'contentType':
      case 'correlationId':
      case 'contentEncoding':
      case 'subject':
      case 'creationTime':
      case 'replyTo':
      case 'userId':
      case 'absoluteExpiryTime':
      case 'groupId':
      case 'groupSequence':
      case 'replyToGroupId':
        break
      default:
        refuse('properties', init, name)
    }
}

const KNOWN = {
  section: 'header, deliveryAnnotations, messageAnnotations, properties, applicationProperties, body, footer',
  header: 'durable, priority, ttl, firstAcquirer, deliveryCount',
  properties:
    'messageId, userId, to, subject, replyTo, correlationId, contentType, contentEncoding, absoluteExpiryTime, ' +
    'creationTime, groupId, groupSequence, replyToGroupId',
} as const

function refuse(kind: keyof typeof KNOWN, given: object, name: string): void {
  if (!Object.hasOwn(given, name)) return
  const value = (given as Readonly<Record<string, unknown>>)[name]
  // What was decoded says what it is.
  if (value === undefined || value === null || (name === 'type' && value === kind)) return
  const what = kind === 'section' ? kind : 'field'
  throw new EncodeError(`there is no ${what} of that name, only ${KNOWN[kind]}`, name)
}
