/**
 * Where the sections of a message are: one pass over their descriptors and sizes, nothing decoded. §3.2
 *
 * What is checked here: every section has a known descriptor, stands where the standard puts it, is of the right kind
 * and ends inside the bytes; nothing is left over. What is inside a section is checked when it is read.
 */

import { Section, sectionSymbols } from '../definitions/sections.ts'
import { DecodeError } from '../errors.ts'
import { Reader } from '../types/reader.ts'
import { valueEnd } from '../types/skip.ts'

/** Offsets of the values of sections, behind their descriptors; 0 for a section that is absent. */
export interface Located {
  readonly header: number
  readonly deliveryAnnotations: number
  readonly messageAnnotations: number
  readonly properties: number
  readonly applicationProperties: number
  /** Descriptor of the body sections: 0x75, 0x76, 0x77, or 0 for none. */
  readonly bodyCode: number
  /** How many sections the body has. */
  readonly bodyCount: number
  /** The first of them. */
  readonly body: number
  readonly footer: number
}

/**
 * Finds the sections of a message.
 *
 * @throws {DecodeError} when the bytes are not a row of sections as §3.2 orders them
 */
export function locate(bytes: Uint8Array): Located {
  const end = bytes.length
  let header = 0
  let deliveryAnnotations = 0
  let messageAnnotations = 0
  let properties = 0
  let applicationProperties = 0
  let bodyCode = 0
  let bodyCount = 0
  let body = 0
  let footer = 0
  let last = 0
  let at = 0
  while (at < end) {
    const start = at
    let code = 0
    if (end - at > 3 && bytes[at] === 0x00 && bytes[at + 1] === 0x53) {
      code = bytes[at + 2] as number
      at += 3
    } else {
      const reader = new Reader(bytes, at)
      code = readSectionCode(reader)
      at = reader.offset
      if (at >= end) throw new DecodeError('a section without a value', at)
    }
    if (code <= last || bodyCode !== 0) checkOrder(code, last, start)
    last = code
    const form = bytes[at] as number
    switch (code) {
      case Section.header:
        checkList(form, at)
        header = at
        break
      case Section.deliveryAnnotations:
        checkMap(form, at)
        deliveryAnnotations = at
        break
      case Section.messageAnnotations:
        checkMap(form, at)
        messageAnnotations = at
        break
      case Section.properties:
        checkList(form, at)
        properties = at
        break
      case Section.applicationProperties:
        checkMap(form, at)
        applicationProperties = at
        break
      case Section.data:
        if (form !== 0xa0 && form !== 0xb0) throw new DecodeError('a data section holds a binary', at)
        if (bodyCount++ === 0) body = at
        bodyCode = code
        break
      case Section.amqpSequence:
        checkList(form, at)
        if (bodyCount++ === 0) body = at
        bodyCode = code
        break
      case Section.amqpValue:
        body = at
        bodyCount = 1
        bodyCode = code
        break
      case Section.footer:
        checkMap(form, at)
        footer = at
        break
      default:
        throw new DecodeError(`0x${code.toString(16).padStart(2, '0')} is not the descriptor of a section`, start)
    }
    at = valueEnd(bytes, at, end)
  }
  return {
    header,
    deliveryAnnotations,
    messageAnnotations,
    properties,
    applicationProperties,
    bodyCode,
    bodyCount,
    body,
    footer,
  }
}

/** The descriptor of a section in any of its forms, as its code. */
export function readSectionCode(reader: Reader): number {
  const start = reader.offset
  if (reader.u8() !== 0x00) reader.fail('expected a section, which is a described value', start)
  const descriptor = reader.readDescriptor()
  if (typeof descriptor === 'number') return descriptor
  if (descriptor !== undefined && Object.hasOwn(sectionSymbols, descriptor)) return sectionSymbols[descriptor] as number
  return reader.fail('not the descriptor of a section', start)
}

/** Sections come in the order of their codes, once each; of body sections one kind, and data and sequences repeat. */
export function checkOrder(code: number, last: number, start: number): void {
  if (code === last && (code === Section.data || code === Section.amqpSequence)) return
  if (code <= last) throw new DecodeError(`section 0x${code.toString(16)} behind section 0x${last.toString(16)}`, start)
  if (code < Section.footer) throw new DecodeError('body sections of two kinds', start)
}

function checkList(form: number, at: number): void {
  if (form !== 0xc0 && form !== 0xd0 && form !== 0x45) throw new DecodeError('this section holds a list', at)
}

function checkMap(form: number, at: number): void {
  if (form !== 0xc1 && form !== 0xd1) throw new DecodeError('this section holds a map', at)
}
