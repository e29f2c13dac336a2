/**
 * §2.3 and §2.7: performatives as frames, written into the slab and read from chunks of 64 KiB. One operation is one
 * frame. Transfer, disposition and flow are the hand-written ones; attach stands for those that go through the tables.
 */

import { ACCEPTED } from '../src/definitions/delivery-state.ts'
import { type TransferFields, writeDisposition } from '../src/definitions/hot-paths.ts'
import type { Attach, Flow } from '../src/definitions/performatives.ts'
import { frameBody } from '../src/definitions/registry.ts'
import { FrameReader } from '../src/framing/frame-reader.ts'
import { FrameWriter } from '../src/framing/frame-writer.ts'
import { type Init, PLAIN_STYLE } from '../src/types/composite.ts'
import { DEFAULT_DECODE_LIMITS } from '../src/types/reader.ts'
import { type Cases, mix, type Unit } from './case.ts'
import { bodies, RING, ring } from './corpus.ts'

const MAX_FRAME = 65_536
/** Frames between two takes: what one flush may hold. */
const FLUSH = 64

type Write<T> = (writer: FrameWriter, row: T) => void

function encoding<T>(rows: readonly T[], write: Write<T>): Unit {
  const writer = new FrameWriter()
  const pass = () => {
    let sum = 0
    for (let i = 0; i < rows.length; i++) {
      write(writer, rows[i] as T)
      if (i % FLUSH !== FLUSH - 1) continue
      // Where the slab ends is another place in every pass: chunks count by what is in them, not by their number.
      const chunks = writer.take()
      sum = mix(sum, sizeOf(chunks) + (chunks.at(-1)?.at(-1) ?? 0))
    }
    return sum
  }
  return { ops: rows.length, bytesPerOp: sizeOf(framed(rows, write)) / rows.length, pass }
}

function decoding<T>(rows: readonly T[], write: Write<T>): Unit {
  const chunks = rechunked(framed(rows, write), 64 << 10)
  const reader = new FrameReader(MAX_FRAME, DEFAULT_DECODE_LIMITS)
  reader.expectHeader = false
  const pass = () => {
    let sum = 0
    for (const chunk of chunks) {
      reader.push(chunk)
      for (let item = reader.next(); item !== undefined; item = reader.next()) {
        if (item === 'frame') sum = mix(sum, numberOf(reader.body))
        sum = (sum + (reader.payload?.length ?? 0)) | 0
      }
    }
    return sum
  }
  return { ops: rows.length, bytesPerOp: sizeOf(chunks) / rows.length, pass }
}

/** A number that is only there when the body was decoded. */
function numberOf(body: FrameReader['body']): number {
  switch (body?.type) {
    case 'transfer':
      return body.deliveryId ?? 0
    case 'disposition':
      return body.first
    case 'flow':
      return body.linkCredit ?? 0
    case 'attach':
      return body.handle + body.name.length
    default:
      return 0
  }
}

function framed<T>(rows: readonly T[], write: Write<T>): Uint8Array[] {
  const writer = new FrameWriter()
  for (const row of rows) write(writer, row)
  return writer.take()
}

const sizeOf = (chunks: readonly Uint8Array[]): number => chunks.reduce((sum, chunk) => sum + chunk.length, 0)

/** The same bytes as a socket hands them on: in chunks that know nothing of frames. */
function rechunked(chunks: readonly Uint8Array[], size: number): Uint8Array[] {
  const all = new Uint8Array(sizeOf(chunks))
  let at = 0
  for (const chunk of chunks) {
    all.set(chunk, at)
    at += chunk.length
  }
  const out: Uint8Array[] = []
  for (let from = 0; from < all.length; from += size) out.push(all.slice(from, from + size))
  return out
}

const transfers = (): readonly TransferFields[] =>
  ring((next, i) => ({
    handle: next() % 4,
    deliveryId: 1_000_000 + i,
    deliveryTag: next(),
    messageFormat: 0,
    settled: false,
    more: false,
  }))

const writeTransfer: Write<TransferFields> = (writer, row) => writer.transferBefore(1, row, 0)

/** Transfers with a payload of 1 KiB, which the reader hands on uncopied. */
const writeLoaded: Write<{ fields: TransferFields; payload: Uint8Array }> = (writer, { fields, payload }) => {
  writer.transferBefore(1, fields, payload.length)
  writer.raw(payload)
}

const loaded = () => {
  const payloads = bodies(1024)
  return transfers().map((fields, i) => ({ fields, payload: payloads[i % RING] as Uint8Array }))
}

interface Run {
  readonly first: number
  readonly last: number
}
const runs = (): readonly Run[] =>
  ring((next, i) => ({ first: 1_000_000 + i * 8, last: 1_000_000 + i * 8 + (next() % 8) }))

const writeRun: Write<Run> = (writer, { first, last }) =>
  writer.frame(0, 1, MAX_FRAME, slab => writeDisposition(slab, true, first, last, true, ACCEPTED))

const flows = (): readonly Init<Flow>[] =>
  ring((next, i) => ({
    nextIncomingId: 1_000_000 + i,
    incomingWindow: 2048,
    nextOutgoingId: next(),
    outgoingWindow: 0xffffffff,
    handle: next() % 4,
    deliveryCount: 1_000_000 + i,
    linkCredit: next() % 1000,
  }))

const writeFlow: Write<Init<Flow>> = (writer, flow) =>
  writer.frame(0, 1, MAX_FRAME, slab =>
    frameBody.named('flow').write(slab, { type: 'flow', ...flow } as never, PLAIN_STYLE),
  )

const attaches = (): readonly Init<Attach>[] =>
  ring((next, i) => ({
    name: `link-${next().toString(16)}`,
    handle: i,
    role: 'sender' as const,
    sndSettleMode: 'mixed' as const,
    source: { type: 'source', address: `queue-${next() % 1000}`, outcomes: ['amqp:accepted:list'] } as never,
    target: { type: 'target', address: `/devices/device-${next() % 1000}/messages/events` } as never,
    initialDeliveryCount: 0,
    maxMessageSize: BigInt(next()),
  }))

const writeAttach: Write<Init<Attach>> = (writer, attach) =>
  writer.frame(0, 1, MAX_FRAME, slab =>
    frameBody.named('attach').write(slab, { type: 'attach', ...attach } as never, PLAIN_STYLE),
  )

export const framingCases: Cases = {
  'transfer.encode': () => encoding(transfers(), writeTransfer),
  'transfer.decode': () => decoding(transfers(), writeTransfer),
  'transfer-1k.decode': () => decoding(loaded(), writeLoaded),
  'disposition.encode': () => encoding(runs(), writeRun),
  'disposition.decode': () => decoding(runs(), writeRun),
  'flow.encode': () => encoding(flows(), writeFlow),
  'flow.decode': () => decoding(flows(), writeFlow),
  'attach.encode': () => encoding(attaches(), writeAttach),
  'attach.decode': () => decoding(attaches(), writeAttach),
}
