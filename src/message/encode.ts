/**
 * Messages, encoded: each section in its smallest form, in the standard's order, in one pass. §3.2
 *
 * Large binaries of a body need not be copied: `writeMessage` leaves them out and says where they belong, so that they
 * can go to the transport as they are.
 */

import { Section } from '../definitions/sections.ts'
import { EncodeError, UsageError } from '../errors.ts'
import { allocate, byteCount } from '../types/allocate.ts'
import { writeList, writeValue } from '../types/any-writer.ts'
import { encodeErrorWithin } from '../types/encode-path.ts'
import { begin, finish } from '../types/slab.ts'
import type { AmqpValue } from '../types/values.ts'
import { Writer } from '../types/writer.ts'
import { checkSections } from './check-names.ts'
import type { Body, MessageInit } from './message.ts'
import { writeAnnotations, writeApplicationProperties } from './write-map.ts'
import { writeHeader, writeProperties } from './write-properties.ts'

/** A message that is encoded already; `send()` passes its bytes through. */
export class EncodedMessage {
  /** As given, not copied: they must not change until the send settles. */
  readonly bytes: Uint8Array
  /** 0 for messages of the standard's format. §2.8.11 */
  readonly messageFormat: number

  /** @param messageFormat  0 … 2^32 − 1. Default 0  @throws {UsageError} either is something else */
  constructor(bytes: Uint8Array, messageFormat = 0) {
    if (!(bytes instanceof Uint8Array)) throw new UsageError('an encoded message is a Uint8Array')
    checkMessageFormat(messageFormat)
    this.bytes = bytes
    this.messageFormat = messageFormat
  }
}

/** @throws {UsageError} unless it is an integer, 0 … 2^32 − 1. §2.8.11 */
export function checkMessageFormat(format: number): void {
  if (Number.isInteger(format) && format >= 0 && format <= 0xffffffff) return
  throw new UsageError(`a message-format is an integer from 0 to 2^32 − 1, not ${String(format)}`, '2.8.11')
}

/** Bytes of a message that were not copied but belong into it. */
export interface Splice {
  /** Where, counted from the writer's `mark` in the bytes that it holds; earlier splices are not counted. */
  readonly at: number
  /** The caller's. */
  readonly bytes: Uint8Array
}

/** From this size on, a binary is copied once into the result instead of twice. */
const COPY_ONCE = 4096

/**
 * Encodes a message.
 *
 * @returns bytes that are never written again. Those of a small message share a buffer of 32 KiB with others, so `slice`
 *   them before you transfer their buffer to another thread
 * @throws {EncodeError} when a value has no encoding or does not fit its field, or nothing has its name; `path` says
 *   which, e.g. `header.ttl`
 */
export function encodeMessage(init: MessageInit): Uint8Array {
  const writer = begin()
  const splices = writeMessage(writer, init, COPY_ONCE)
  return finish(writer, splices && join(writer, splices))
}

function join(writer: Writer, splices: readonly Splice[]): Uint8Array {
  const written = writer.written()
  const bytes = allocate(splices.reduce((size, splice) => size + splice.bytes.length, written.length))
  let from = 0
  let to = 0
  for (const splice of splices) {
    bytes.set(written.subarray(from, splice.at), to)
    to += splice.at - from
    from = splice.at
    bytes.set(splice.bytes, to)
    to += splice.bytes.length
  }
  bytes.set(written.subarray(from), to)
  return bytes
}

/**
 * Writes the sections of a message at the writer's cursor. On an error what was written so far stays: the caller rewinds.
 *
 * @param byReference  bytes: of binaries in data sections from this size on only constructor and size are written
 * @returns the binaries left out, in order; `undefined` if there are none
 * @throws {EncodeError} as `encodeMessage`
 */
export function writeMessage(writer: Writer, init: MessageInit, byReference: number): Splice[] | undefined {
  writeSections(writer, init)
  const splices = writeBody(writer, init.body, byReference)
  if (isGiven(init.footer)) writeAnnotations(writer, Section.footer, init.footer, 'footer')
  return splices
}

/** Writes what comes in front of the body. */
function writeSections(writer: Writer, init: Omit<MessageInit, 'body'>): void {
  checkSections(init)
  const { header, deliveryAnnotations, messageAnnotations, properties, applicationProperties } = init
  if (isGiven(header)) writeHeader(writer, header)
  if (isGiven(deliveryAnnotations))
    writeAnnotations(writer, Section.deliveryAnnotations, deliveryAnnotations, 'deliveryAnnotations')
  if (isGiven(messageAnnotations))
    writeAnnotations(writer, Section.messageAnnotations, messageAnnotations, 'messageAnnotations')
  if (isGiven(properties)) writeProperties(writer, properties)
  if (isGiven(applicationProperties))
    writeApplicationProperties(writer, Section.applicationProperties, applicationProperties)
}

/**
 * Encodes what stands around a body that is sent as it is made: `opening` in front of it, `footer` behind it.
 *
 * @throws {EncodeError} as `encodeMessage`
 */
export function encodeAround(init: Omit<MessageInit, 'body'>): { opening: Uint8Array; footer: Uint8Array } {
  const writer = new Writer()
  writeSections(writer, init)
  const end = writer.offset
  if (isGiven(init.footer)) writeAnnotations(writer, Section.footer, init.footer, 'footer')
  const written = writer.written()
  return { opening: written.slice(0, end), footer: written.slice(end) }
}

/**
 * Encodes one data section of a body that is sent as it is made. §3.2.6
 *
 * @param copyBelow  bytes: a smaller section is copied, a larger one keeps the caller's bytes
 */
export function encodeData(bytes: Uint8Array, copyBelow: number): Uint8Array[] {
  const writer = new Writer(bytes.length < copyBelow ? bytes.length + DATA_HEAD : DATA_HEAD)
  writer.writeDescriptor(Section.data)
  writer.binaryHeader(bytes.length)
  if (bytes.length >= copyBelow) return [writer.written(), bytes]
  writer.raw(bytes)
  return [writer.written()]
}

/** Room for the descriptor, constructor and size of a data section. */
const DATA_HEAD = 8

/** JavaScript callers give null where they mean nothing. */
const isGiven = <T>(section: T | undefined): section is T => section !== undefined && section !== null

function writeBody(writer: Writer, body: Body | undefined, byReference: number): Splice[] | undefined {
  // §3.2 asks for a body; a message without one gets a data section of no bytes.
  if (!isGiven(body)) return writeData(writer, NOTHING, byReference, undefined)
  if (body instanceof Uint8Array) return writeData(writer, body, byReference, undefined)
  try {
    if (typeof body === 'string') writeValueSection(writer, body)
    else if (typeof body !== 'object') throw new EncodeError(`a ${typeof body} is no body`)
    else if ('data' in body) return writeDataSections(writer, body.data, byReference)
    else if ('sequence' in body) writeSequences(writer, body.sequence)
    else if ('value' in body) writeValueSection(writer, body.value, 'value')
    else throw new EncodeError(NO_BODY)
  } catch (error) {
    throw encodeErrorWithin('body', error)
  }
  return undefined
}

const NO_BODY =
  'a body is bytes, text, or an object with `data`, `sequence` or `value`: an object of your own goes as text, by ' +
  'JSON.stringify, or as a map, by { value: new Map(Object.entries(object)) }'

const NOTHING: Uint8Array = /* @__PURE__ */ new Uint8Array(0)

function writeData(
  writer: Writer,
  bytes: Uint8Array,
  byReference: number,
  splices: Splice[] | undefined,
): Splice[] | undefined {
  writer.writeDescriptor(Section.data)
  const length = byteCount(bytes)
  if (length < byReference) {
    writer.writeBinary(bytes)
    return splices
  }
  writer.binaryHeader(length)
  const own = bytes.length === length ? bytes : new Uint8Array(bytes.buffer, bytes.byteOffset, length)
  const splice = { at: writer.offset - writer.mark, bytes: own }
  if (splices === undefined) return [splice]
  splices.push(splice)
  return splices
}

function writeDataSections(writer: Writer, data: readonly Uint8Array[], byReference: number): Splice[] | undefined {
  if (!Array.isArray(data) || data.length === 0) throw new EncodeError('at least one data section is needed', 'data')
  let splices: Splice[] | undefined
  for (let i = 0; i < data.length; i++) {
    const bytes: unknown = data[i]
    if (!(bytes instanceof Uint8Array)) throw new EncodeError('a data section is a Uint8Array', `data.${i}`)
    splices = writeData(writer, bytes, byReference, splices)
  }
  return splices
}

function writeSequences(writer: Writer, sequence: readonly (readonly AmqpValue[])[]): void {
  if (!Array.isArray(sequence) || sequence.length === 0)
    throw new EncodeError('at least one sequence section is needed', 'sequence')
  for (let i = 0; i < sequence.length; i++) {
    const items: unknown = sequence[i]
    if (!Array.isArray(items)) throw new EncodeError('a sequence section is an array', `sequence.${i}`)
    writer.writeDescriptor(Section.amqpSequence)
    try {
      writeList(writer, items)
    } catch (error) {
      throw encodeErrorWithin('sequence', encodeErrorWithin(i, error))
    }
  }
}

function writeValueSection(writer: Writer, value: AmqpValue, path = ''): void {
  writer.writeDescriptor(Section.amqpValue)
  try {
    writeValue(writer, value)
  } catch (error) {
    throw path === '' ? error : encodeErrorWithin(path, error)
  }
}
