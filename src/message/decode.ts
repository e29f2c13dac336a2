/**
 * Messages, decoded: the sections are located at once, their content is decoded when it is read. §3.2
 *
 * What was read is kept, except the fields of `properties`. A section that turns out to be malformed throws from its
 * getter, every time; the rest of the message stays readable.
 */

import { Section } from '../definitions/sections.ts'
import { readList, readValue } from '../types/any-reader.ts'
import { type AmqpMap, toJson } from '../types/map.ts'
import { type DecodeLimits, Reader } from '../types/reader.ts'
import { valueEnd } from '../types/skip.ts'
import { type Located, locate } from './locate.ts'
import type { Body, Message, MessageHeader, MessageInit } from './message.ts'
import { readAnnotations, readApplicationProperties } from './read-map.ts'
import { LazyProperties, readHeader, readProperties } from './read-properties.ts'

/**
 * Decodes a message.
 *
 * @param bytes  all sections of one message. Not copied: binaries of the result are views, and the bytes must not change
 *   while the message is in use
 * @param limits  per section; default 64 levels and 2^20 elements
 * @throws {DecodeError} unless the bytes are well-framed sections in the order of §3.2; see `Message` for what is
 *   checked only when it is read
 */
export function decodeMessage(bytes: Uint8Array, limits?: DecodeLimits): Message {
  return new DecodedMessage(new Reader(bytes, 0, bytes.length, limits), locate(bytes))
}

class DecodedMessage implements Message {
  static {
    Object.defineProperty(DecodedMessage.prototype, Symbol.for('nodejs.util.inspect.custom'), {
      value(this: DecodedMessage) {
        return present(this.toInit())
      },
    })
  }

  readonly #reader: Reader
  readonly #at: Located
  #header: MessageHeader | undefined
  #deliveryAnnotations: AmqpMap | undefined
  #messageAnnotations: AmqpMap | undefined
  #properties: LazyProperties | undefined
  #applicationProperties: AmqpMap | undefined
  #body: Body | undefined
  #footer: AmqpMap | undefined

  constructor(reader: Reader, located: Located) {
    this.#reader = reader
    this.#at = located
  }

  get header(): MessageHeader | undefined {
    const at = this.#at.header
    return at === 0 ? undefined : (this.#header ??= readHeader(this.#seek(at)))
  }

  get deliveryAnnotations(): AmqpMap | undefined {
    const at = this.#at.deliveryAnnotations
    return at === 0 ? undefined : (this.#deliveryAnnotations ??= readAnnotations(this.#seek(at)))
  }

  get messageAnnotations(): AmqpMap | undefined {
    const at = this.#at.messageAnnotations
    return at === 0 ? undefined : (this.#messageAnnotations ??= readAnnotations(this.#seek(at)))
  }

  get properties(): LazyProperties | undefined {
    const at = this.#at.properties
    return at === 0 ? undefined : (this.#properties ??= new LazyProperties(this.#reader, at))
  }

  get applicationProperties(): AmqpMap | undefined {
    const at = this.#at.applicationProperties
    return at === 0 ? undefined : (this.#applicationProperties ??= readApplicationProperties(this.#seek(at)))
  }

  get body(): Body {
    return (this.#body ??= this.#readBody())
  }

  get footer(): AmqpMap | undefined {
    const at = this.#at.footer
    return at === 0 ? undefined : (this.#footer ??= readAnnotations(this.#seek(at)))
  }

  toInit(): MessageInit {
    const properties = this.#at.properties
    return {
      header: this.header,
      deliveryAnnotations: this.deliveryAnnotations,
      messageAnnotations: this.messageAnnotations,
      properties: properties === 0 ? undefined : readProperties(this.#seek(properties)),
      applicationProperties: this.applicationProperties,
      body: this.body,
      footer: this.footer,
    }
  }

  toJSON(): unknown {
    return toJson(present(this.toInit()))
  }

  #seek(at: number): Reader {
    const reader = this.#reader
    reader.reset(reader.bytes, at, reader.bytes.length)
    return reader
  }

  #readBody(): Body {
    const { bodyCode, bodyCount, body } = this.#at
    // DEVIATES §3.2 D-006: a body is required, but some peers send none (answers of CBS nodes, the IoT Edge hub).
    if (bodyCode === 0) return new Uint8Array(0)
    const reader = this.#seek(body)
    if (bodyCode === Section.amqpValue) {
      const value = readValue(reader)
      return typeof value === 'string' ? value : { value }
    }
    if (bodyCode === Section.amqpSequence) return { sequence: readSections(reader, bodyCount, readList) }
    return bodyCount === 1 ? reader.readBinary() : { data: readSections(reader, bodyCount, readBinary) }
  }
}

const readBinary = (reader: Reader): Uint8Array => reader.readBinary()

/** Reads `count` sections that follow each other, the first from behind its descriptor. They share one budget. */
function readSections<V>(reader: Reader, count: number, read: (reader: Reader) => V): V[] {
  reader.spend(count)
  const sections = [read(reader)]
  while (sections.length < count) {
    // 0x00 and the descriptor, both checked when the sections were located.
    reader.offset = valueEnd(reader.bytes, reader.offset + 1, reader.end)
    sections.push(read(reader))
  }
  return sections
}

/** Without what is `undefined`. */
function present(init: MessageInit): Record<string, unknown> {
  const { properties, ...sections } = init
  const out = { ...sections, properties: properties && definedOf(properties) }
  return definedOf(out)
}

const definedOf = (object: object): Record<string, unknown> =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined))
