/**
 * File upload notifications in an emulated hub: told from behind, since uploads themselves go over HTTPS, and handed to
 * back ends from one queue for the hub. Facts: spec-notes/iothub.md, file upload notifications.
 */

import type { Sender } from '../client/api.ts'
import type { MessageInit } from '../message/message.ts'
import type { Shape } from './check-shape.ts'
import type { EmulatorClock } from './clock.ts'
import type { CommandQueueOptions, LockedCommand } from './command-queue.ts'
import { OutgoingNode } from './nodes/outgoing-node.ts'

/** A file that a device has uploaded. */
export interface FileUpload {
  readonly deviceId: string
  /** Where it is, e.g. `https://account.blob.core.windows.net/container/device1/photo.jpg`. */
  readonly blobUri: string
  /** Its name in the container, e.g. `device1/photo.jpg`. */
  readonly blobName: string
  /** In bytes. */
  readonly blobSizeInBytes: number
  /** Default: now. */
  readonly lastUpdatedTime?: Date | undefined
}

/** Of their types. */
export const FILE_UPLOAD: Shape<FileUpload> = {
  deviceId: 'text',
  blobUri: 'text',
  blobName: 'text',
  blobSizeInBytes: 'number',
  lastUpdatedTime: 'date',
}

/** The queue of notifications and its links. */
export class FileNotificationNode {
  readonly #queue: OutgoingNode<FileUpload>

  constructor(options: {
    readonly clock: EmulatorClock
    readonly hubName: string
    readonly queue: CommandQueueOptions
  }) {
    const { clock, hubName, queue } = options
    this.#queue = new OutgoingNode({
      clock,
      queue: { maxDeliveryCount: 100, ...queue, maxDepth: Number.POSITIVE_INFINITY },
      encode: upload => notification(upload, hubName),
      onEnd: () => {},
    })
  }

  /** Tells of an upload. */
  notify(upload: FileUpload): void {
    this.#queue.enqueue(upload)
  }

  /** Sends notifications on a link until it ends. */
  serve(sender: Sender): void {
    this.#queue.serve(sender)
  }

  /** Stops its timer. */
  close(): void {
    this.#queue.close()
  }
}

function notification(upload: LockedCommand<FileUpload>, hubName: string): MessageInit {
  const { deviceId, blobUri, blobName, blobSizeInBytes, lastUpdatedTime } = upload.message
  const enqueued = new Date(upload.enqueuedAt)
  const record = {
    deviceId,
    blobUri,
    blobName,
    lastUpdatedTime: (lastUpdatedTime ?? enqueued).toISOString(),
    blobSizeInBytes,
    enqueuedTimeUtc: enqueued.toISOString(),
  }
  return {
    messageAnnotations: { 'x-opt-lock-token': upload.lockToken, 'iothub-enqueuedtime': enqueued },
    properties: {
      userId: new TextEncoder().encode(hubName),
      contentType: 'application/vnd.microsoft.iothub.filenotification.json',
    },
    body: new TextEncoder().encode(JSON.stringify(record)),
  }
}
