/**
 * Feedback on cloud-to-device messages: which endings are reported, what a record says, and how records are gathered
 * into batches. Pure; time is an argument.
 *
 * Facts: spec-notes/iothub.md, cloud-to-device feedback.
 */

import type { FeedbackStatus } from './command-queue.ts'

/** Which endings the sender of a message asked to be told of. */
export type Acknowledgement = 'none' | 'positive' | 'negative' | 'full'

/** One record of a batch, as it stands in the JSON array: every value is a string. */
export interface FeedbackRecord {
  readonly originalMessageId: string
  /** ISO 8601: when the message ended. */
  readonly enqueuedTimeUtc: string
  readonly statusCode: StatusCode
  /** The same text. */
  readonly description: string
  readonly deviceId: string
  readonly deviceGenerationId: string
}

/** The status of a record, as a hub spells it. */
export type StatusCode = 'Success' | 'Expired' | 'DeliveryCountExceeded' | 'Rejected' | 'Purged'

/** What a record is made of. */
export interface FeedbackInit {
  readonly originalMessageId: string
  readonly status: FeedbackStatus
  readonly deviceId: string
  readonly deviceGenerationId: string
}

/** The acknowledgement that a text stands for; without one it is `none`. `undefined` for any other text. */
export function parseAcknowledgement(text: string | undefined): Acknowledgement | undefined {
  if (text === undefined) return 'none'
  return acknowledgements.find(known => known === text.toLowerCase())
}

/** Whether an ending is reported. */
export function isReported(ack: Acknowledgement, status: FeedbackStatus): boolean {
  return ack === 'full' || ack === (status === 'success' ? 'positive' : 'negative')
}

/** The record of an ending at `now`, in ms since 1970. */
export function feedbackRecord(init: FeedbackInit, now: number): FeedbackRecord {
  const { originalMessageId, status, deviceId, deviceGenerationId } = init
  const statusCode = statusCodes[status]
  const enqueuedTimeUtc = new Date(now).toISOString()
  return { originalMessageId, enqueuedTimeUtc, statusCode, description: statusCode, deviceId, deviceGenerationId }
}

/** Gathers records: a batch is due when it is full, or some time after its first record. */
export class FeedbackBatcher {
  readonly #batchMs: number
  readonly #maxRecords: number
  #records: FeedbackRecord[] = []
  #dueAt: number | undefined

  /**
   * @param batchMs     how long the first record of a batch may wait, in ms, ≥ 0
   * @param maxRecords  when a batch is full, ≥ 1; a hub's is 64
   */
  constructor(batchMs: number, maxRecords = 64) {
    this.#batchMs = batchMs
    this.#maxRecords = maxRecords
  }

  add(record: FeedbackRecord, now: number): void {
    this.#dueAt ??= now + this.#batchMs
    this.#records.push(record)
  }

  /** When {@link take} next has something to give, in ms since 1970; `undefined` while there is no record. */
  deadline(): number | undefined {
    return this.#records.length >= this.#maxRecords ? 0 : this.#dueAt
  }

  /** The batches that are due, none empty. */
  take(now: number): readonly (readonly FeedbackRecord[])[] {
    const batches: FeedbackRecord[][] = []
    while (this.#records.length >= this.#maxRecords) batches.push(this.#records.splice(0, this.#maxRecords))
    if (this.#dueAt !== undefined && this.#dueAt <= now && this.#records.length > 0)
      batches.push(this.#records.splice(0))
    if (this.#records.length === 0) this.#dueAt = undefined
    else if (batches.length > 0) this.#dueAt = now + this.#batchMs
    return batches
  }
}

const acknowledgements: readonly Acknowledgement[] = ['none', 'positive', 'negative', 'full']

const statusCodes: Readonly<Record<FeedbackStatus, StatusCode>> = {
  success: 'Success',
  expired: 'Expired',
  deliveryCountExceeded: 'DeliveryCountExceeded',
  rejected: 'Rejected',
  purged: 'Purged',
}
