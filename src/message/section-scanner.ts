/**
 * SectionScanner: a message that comes in pieces → the bytes of its data sections as they come, and what stands around
 * them. §3.2
 *
 * It knows no more of a message than `locate` does: which section begins where, and that they are in order. Sections in
 * front of the body and the footer are put together, copied, up to a limit; data is handed on as views of the pieces. A
 * body that is not data is put together as well: it can only be decoded whole.
 */

import { Section } from '../definitions/sections.ts'
import { DecodeError } from '../errors.ts'
import { Reader } from '../types/reader.ts'
import { checkOrder, readSectionCode } from './locate.ts'

/** The longest head of a section: a symbolic descriptor, a constructor and a size, with room to spare. */
const LONGEST_HEAD = 64

/** What a section says of itself in its first bytes. */
interface Head {
  readonly code: number
  /** Bytes of content behind the head. */
  readonly size: number
}

export class SectionScanner {
  /** Descriptor of the body sections; 0 while none has begun. */
  bodyCode = 0
  readonly #limit: number
  /** The head that is being put together. */
  #head: number[] = []
  /** Bytes of the section whose content is being read. */
  #left = 0
  /** Descriptor of the latest section. */
  #last = 0
  /** Everything but data, in copies. */
  #around: Uint8Array[] = []
  #aroundSize = 0
  /** Bytes pushed. */
  #offset = 0

  /** @param limit  bytes that everything but data may take */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** Whether the sections in front of the body are complete, and what follows is data, a footer, or the end. */
  get isPastOpening(): boolean {
    return this.#last >= Section.data && !this.isOpaque
  }

  /** Whether the body is a value or a sequence. */
  get isOpaque(): boolean {
    return this.bodyCode === Section.amqpValue || this.bodyCode === Section.amqpSequence
  }

  /** Bytes of `around()`, to see whether it has grown. */
  get aroundSize(): number {
    return this.#aroundSize
  }

  /** Everything but data that has come: a message without its body, or the whole of one whose body is not data. */
  around(): Uint8Array {
    const bytes = new Uint8Array(this.#aroundSize)
    let at = 0
    for (const part of this.#around) {
      bytes.set(part, at)
      at += part.length
    }
    this.#around = [bytes]
    return bytes
  }

  /**
   * Takes the next piece.
   *
   * @returns data of the body, in order. BORROWS
   * @throws {DecodeError} the bytes are not sections as §3.2 orders them, or those around the data are too large
   */
  push(piece: Uint8Array): Uint8Array[] {
    const data: Uint8Array[] = []
    let at = 0
    while (at < piece.length) {
      if (this.isOpaque) {
        this.#keep(piece.subarray(at))
        at = piece.length
      } else if (this.#left > 0) {
        const width = Math.min(this.#left, piece.length - at)
        const part = piece.subarray(at, at + width)
        if (this.#last === Section.data) data.push(part)
        else this.#keep(part)
        this.#left -= width
        at += width
      } else {
        this.#head.push(piece[at++] as number)
        const head = headOf(this.#head, this.#offset + at)
        if (head) this.#begin(head, this.#offset + at)
      }
    }
    this.#offset += piece.length
    return data
  }

  /** No more comes. @throws {DecodeError} in the middle of a section */
  end(): void {
    if (this.#left > 0 || this.#head.length > 0)
      throw new DecodeError('the message ends inside a section', this.#offset)
  }

  #begin({ code, size }: Head, offset: number): void {
    if (code <= this.#last || this.bodyCode !== 0) checkOrder(code, this.#last, offset)
    this.#last = code
    if (code >= Section.data && code < Section.footer) this.bodyCode = code
    if (code !== Section.data) this.#keep(Uint8Array.from(this.#head))
    // What can only be decoded whole is checked then.
    this.#left = this.isOpaque ? 0 : size
    this.#head = []
  }

  #keep(part: Uint8Array): void {
    this.#aroundSize += part.length
    if (this.#aroundSize > this.#limit)
      throw new DecodeError(`more than ${this.#limit} bytes of sections around the data`, this.#offset)
    // A view would keep the whole piece alive.
    this.#around.push(part.slice())
  }
}

/** What the bytes say, if they are a whole head. */
function headOf(bytes: readonly number[], offset: number): Head | undefined {
  if (bytes[0] !== 0x00) throw new DecodeError('expected a section, which is a described value', offset)
  const at = descriptorEnd(bytes)
  if (at > LONGEST_HEAD - 5) throw new DecodeError('not the descriptor of a section', offset)
  if (bytes.length <= at) return undefined
  const code = readSectionCode(new Reader(Uint8Array.from(bytes), 0, at))
  const form = bytes[at] as number
  // Its end is that of the message: nobody needs to know it.
  if (code === Section.amqpValue) return { code, size: 0 }
  if (code === Section.data && form !== 0xa0 && form !== 0xb0)
    throw new DecodeError('a data section holds a binary', offset)
  if (form === 0x45) return { code, size: 0 }
  if (form === 0xc0 || form === 0xc1 || form === 0xa0)
    return bytes.length < at + 2 ? undefined : { code, size: bytes[at + 1] as number }
  if (form !== 0xd0 && form !== 0xd1 && form !== 0xb0)
    throw new DecodeError('a section holds a list, a map or a binary', offset)
  return bytes.length < at + 5 ? undefined : { code, size: sizeAt(bytes, at + 1) }
}

/** Where the descriptor ends, as far as can be told. */
function descriptorEnd(bytes: readonly number[]): number {
  switch (bytes[1]) {
    case 0x53:
      return 3
    case 0x80:
      return 10
    case 0xa3:
      return 3 + (bytes[2] ?? 0)
    case 0xb3:
      return bytes.length < 6 ? 6 : 6 + sizeAt(bytes, 2)
    default:
      return 2
  }
}

const sizeAt = (bytes: readonly number[], at: number): number =>
  new DataView(Uint8Array.from(bytes.slice(at, at + 4)).buffer).getUint32(0)
