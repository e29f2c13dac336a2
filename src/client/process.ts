/** Handling deliveries, so many at a time: credit comes back when one is settled. §2.6.7 §2.6.12 */

import { ClosedError, UsageError } from '../errors.ts'
import type { Delivery, ProcessOptions } from './api.ts'
import type { ClientDelivery } from './delivery.ts'
import { warn } from './emitter.ts'
import { type Deferred, deferred, throwIfAborted } from './operation.ts'

/** What `process` needs of its receiver. */
export interface ProcessSource {
  /** Keeps so many deliveries coming, those included that are being handled. */
  begin(concurrency: number): void
  /** Grants no more, and takes back what is out. */
  end(): void
  /** The next delivery; `undefined` when the link has ended. Its credit comes back by `done`. */
  next(signal: AbortSignal): Promise<ClientDelivery | undefined>
  done(): void
  /** Called when the link ends, at once if it has. */
  onEnd(listener: () => void): void
  /** Why the end of the link is a failure; `undefined` where it is an end like any other. */
  readonly failure: Error | undefined
}

export type Handler = (delivery: Delivery, signal: AbortSignal) => unknown

/** See `Receiver.process`. */
export async function processDeliveries(
  source: ProcessSource,
  handler: Handler,
  options: ProcessOptions = {},
): Promise<void> {
  const { concurrency = 1, signal, onError = warn } = options
  throwIfAborted(options)
  if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > 0x7fffffff)
    throw new UsageError(`concurrency is a number of deliveries from 1 to 2^31 − 1, not ${concurrency}`)
  const halt = new AbortController()
  const onAbort = () => halt.abort(signal?.reason)
  signal?.addEventListener('abort', onAbort, { once: true })
  const ended = new AbortController()
  source.begin(concurrency)
  source.onEnd(() => ended.abort(source.failure ?? new ClosedError('link', 'link')))
  let running = 0
  let freed: Deferred<void> | undefined

  const run = async (delivery: ClientDelivery) => {
    running++
    try {
      await handleOne(delivery, handler, ended.signal, onError)
    } catch (error) {
      halt.abort(error)
    }
    running--
    source.done()
    freed?.resolve()
  }

  const untilFewer = async (than: number) => {
    while (running >= than) {
      freed = deferred()
      await freed.promise
    }
  }

  try {
    for (;;) {
      await untilFewer(concurrency)
      if (halt.signal.aborted) break
      const delivery = await source.next(halt.signal)
      if (!delivery) break
      void run(delivery)
    }
  } catch (error) {
    if (!halt.signal.aborted) throw error
  } finally {
    signal?.removeEventListener('abort', onAbort)
    source.end()
    await untilFewer(1)
  }
  if (halt.signal.aborted) throw halt.signal.reason
  if (source.failure) throw source.failure
}

/** @throws what `onError` throws */
async function handleOne(
  delivery: ClientDelivery,
  handler: Handler,
  signal: AbortSignal,
  onError: (error: unknown, delivery: Delivery) => void,
): Promise<void> {
  let settled: Promise<void> | undefined
  try {
    await handler(delivery, signal)
    if (!delivery.isDecided) settled = delivery.accept()
  } catch (error) {
    // A failed attempt is counted, so that a message that cannot be handled does not come back for ever. §3.4.5
    if (!delivery.isDecided) settled = delivery.modify({ deliveryFailed: true })
    onError(error, delivery)
  }
  // Of the end of the link `process` itself tells.
  await settled?.catch(() => {})
}
