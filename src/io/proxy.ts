/** A connection that somebody else makes, e.g. through an HTTP proxy, in place of a socket of ours. */

import type { Duplex } from 'node:stream'
import { TransportError, UsageError } from '../errors.ts'
import { timerDelay } from './delay.ts'
import { reasonOf } from './socket.ts'

/**
 * Connects to a host and gives the stream: bytes written to it arrive there unchanged. The stream is ours from then on.
 * TLS, where it is wanted, is done over it, not by it.
 */
export type ProxyHook = (host: string, port: number) => Promise<Duplex> | Duplex

/**
 * Asks `proxy` for a stream.
 *
 * @throws {TransportError} it failed, what it gave has ended, or it took longer than `withinMs`
 * @throws {UsageError} what it gave is no stream
 * Cancellation: rejects with `signal.reason`. A stream that comes later is destroyed, as after `withinMs`.
 */
export async function connectThrough(
  proxy: ProxyHook,
  to: { readonly host: string; readonly port: number; readonly withinMs: number; readonly isRefed?: boolean },
  signal: AbortSignal | undefined,
): Promise<Duplex> {
  const { host, port, withinMs, isRefed = true } = to
  signal?.throwIfAborted()
  return await new Promise<Duplex>((resolve, reject) => {
    let isOver = false
    const settle = (finish: () => void) => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      isOver = true
      finish()
    }
    const fail = (message: string, cause?: unknown) => settle(() => reject(new TransportError(message, cause)))
    const onAbort = () => settle(() => reject(signal?.reason))
    const timer = setTimeout(
      () => fail(`the proxy gave no connection to ${host}:${port} within ${withinMs} ms`),
      timerDelay(withinMs),
    )
    if (!isRefed) timer.unref()
    signal?.addEventListener('abort', onAbort)
    new Promise<Duplex>(made => made(proxy(host, port))).then(
      stream => {
        if (typeof stream?.write !== 'function' || typeof stream.on !== 'function')
          return settle(() => reject(new UsageError('`proxy` resolves to a stream that is connected')))
        if (isOver) stream.on('error', () => {}).destroy()
        else if (stream.destroyed) fail(`the proxy's connection to ${host}:${port} has already ended`)
        else settle(() => resolve(stream))
      },
      error => fail(`the proxy cannot connect to ${host}:${port}: ${reasonOf(asError(error))}`, error),
    )
  })
}

const asError = (thrown: unknown): Error => (thrown instanceof Error ? thrown : new Error(String(thrown)))
