/** listen: a port → connections, each the same as `connect` gives. */

import { DEFAULT_LIMITS } from '../../engine/limits.ts'
import { type AmqpError, TransportError, UsageError } from '../../errors.ts'
import { listenSocket, type SocketListener } from '../../io/socket.ts'
import { checkPem } from '../../io/tls-options.ts'
import type { Transport } from '../../io/transport.ts'
import type { Connection, Listener } from '../api.ts'
import type { Security } from '../authentication.ts'
import { checkListenOptions } from '../check-options.ts'
import { ClientConnection } from '../connection.ts'
import { inspectAs } from '../diagnostics/inspect.ts'
import { Emitter, warn } from '../emitter.ts'
import { keepTermini } from '../keeping/keeper.ts'
import { checkTermini, SuspendedLinks } from '../keeping/suspended-links.ts'
import { handled, throwIfAborted, within } from '../operation.ts'
import type { ListenOptions } from '../options.ts'
import { anonymousServer } from '../sasl/anonymous.ts'
import { decodeFault } from '../termini.ts'
import { Coordinator, checkCoordinator } from '../transactions/coordinator.ts'
import { IncomingQueue } from './incoming.ts'
import { leave, serveLinks } from './serving.ts'

type ListenerEvents = { connection: Connection; error: Error }

/**
 * Listens for AMQP 1.0 peers, plain or over TLS.
 *
 * Connections come by `on('connection')` or by iterating, open. What fails before that, a TLS or SASL handshake, comes
 * by `on('error')` and concerns that peer alone.
 *
 * @throws {TransportError} the port cannot be used
 * @throws {UsageError} an option is unknown or out of range
 * Cancellation: `signal` closes the listener.
 */
export async function listen(options: ListenOptions = {}): Promise<Listener> {
  throwIfAborted(options)
  checkListenOptions(options)
  checkCoordinator(options.coordinator)
  checkTermini(options.termini)
  const listener = new PortListener(options)
  await listener.start()
  return listener
}

class PortListener extends Emitter<ListenerEvents> implements Listener {
  static {
    inspectAs(PortListener.prototype, 'Listener', of => ({ port: of.port, connections: of.#connections.size }))
  }

  readonly #options: ListenOptions
  /** One container, whoever connects. §2.1 */
  readonly #containerId: string
  readonly #connections = new Set<ClientConnection>()
  readonly #suspended: SuspendedLinks | undefined
  #socket: SocketListener | undefined
  #closing: Promise<void> | undefined
  readonly #incoming = new IncomingQueue<Connection>(
    connection => {
      if (!this.hears('connection')) return false
      this.emit('connection', connection, error => void handled(connection.close({ error: decodeFault(error) })))
      return true
    },
    // Where links have their handlers, a connection needs nobody else.
    connection => void (this.#options.links || handled(connection.close())),
  )

  constructor(options: ListenOptions) {
    super()
    this.#options = options
    const { termini } = options
    const failed = (error: Error): void => this.emit('error', error)
    if (termini) this.#suspended = new SuspendedLinks(termini === true ? {} : termini, failed)
    this.#containerId = options.containerId ?? globalThis.crypto.randomUUID()
  }

  async start(): Promise<void> {
    const { host = '127.0.0.1', port = 0, tls, signal, maxConnections, limits } = this.#options
    const { handshakeMs } = { ...DEFAULT_LIMITS, ...limits }
    if (maxConnections !== undefined && !(Number.isInteger(maxConnections) && maxConnections > 0))
      throw new UsageError('maxConnections is a number of connections above 0')
    signal?.addEventListener('abort', () => void this.close(), { once: true })
    if (port === null) return
    this.#socket = await listenSocket(
      { host, port, tls, handshakeMs, maxConnections },
      transport => {
        // A peer that fails its handshake has been reported.
        this.#accept(transport).then(
          connection => this.#incoming.push(connection, () => !this.#connections.has(connection)),
          () => {},
        )
      },
      error => this.emit('error', error),
    )
  }

  get port(): number {
    return this.#socket?.port ?? 0
  }

  setSecureContext(options: import('node:tls').SecureContextOptions): void {
    if (!this.#socket?.setSecureContext) throw new UsageError('this listener has no TLS of its own')
    checkPem(options)
    this.#socket.setSecureContext(options)
  }

  accept(accepted: Transport): Promise<Connection> {
    return this.#accept(accepted)
  }

  /** What a handler of the application's has thrown: nobody may have missed it. */
  #tell(error: Error): void {
    if (this.hears('error')) this.emit('error', error)
    else warn(error)
  }

  async #accept(accepted: Transport): Promise<ClientConnection> {
    try {
      return await this.#serve(accepted)
    } catch (error) {
      this.emit('error', error as AmqpError)
      throw error
    }
  }

  async #serve(accepted: Transport): Promise<ClientConnection> {
    const { maxConnections = Number.POSITIVE_INFINITY, links } = this.#options
    if (this.#connections.size >= maxConnections) {
      accepted.destroy()
      throw new TransportError(`a connection was dropped: ${maxConnections} are open`)
    }
    const connection = this.#build(accepted)
    this.#connections.add(connection)
    if (this.#suspended) keepTermini(connection, this.#suspended.of(connection))
    if (links)
      serveLinks(connection, this.#options, {
        failed: error => this.#tell(error),
        isClosing: () => this.#closing !== undefined,
      })
    connection.closed.then(() => this.#connections.delete(connection))
    await connection.line.start(undefined)
    if (this.#closing) connection.destroy()
    return connection
  }

  #build(accepted: Transport): ClientConnection {
    const { signal: _signal, coordinator, ...options } = this.#options
    const containerId = this.#containerId
    const mechanisms = [options.sasl ?? anonymousServer()].flat()
    const security: Security = {
      role: 'server',
      mechanisms,
      allowNoSasl: options.allowNoSasl ?? mechanisms.some(({ name }) => name === 'ANONYMOUS'),
    }
    try {
      const transport = options.transport?.(accepted) ?? accepted
      // Made here, so that who only connects need not carry it.
      const coordinates = (owner: ClientConnection) =>
        new Coordinator(owner, typeof coordinator === 'object' ? coordinator : {}, error => this.#tell(error))
      const settings = {
        ...options,
        containerId,
        ...(coordinator ? { coordinates } : {}),
      }
      const secure = options.tls !== undefined
      return new ClientConnection({ transport, host: '', peer: accepted.remoteAddress, secure, security }, settings)
    } catch (error) {
      accepted.destroy()
      throw error
    }
  }

  protected override get eventNames(): readonly string[] {
    return ['connection', 'error']
  }

  protected override onListener(type: keyof ListenerEvents): void {
    if (type === 'connection') this.#incoming.offer()
  }

  [Symbol.asyncIterator](): AsyncIterator<Connection, undefined> {
    return this.#incoming[Symbol.asyncIterator]()
  }

  close(options: { graceMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(options.graceMs ?? 0)
    return this.#closing
  }

  async #close(graceMs: number): Promise<void> {
    const stopped = this.#socket?.close()
    this.#incoming.end()
    if (graceMs > 0 && this.#connections.size > 0) {
      const over = new AbortController()
      const left = Promise.all(
        [...this.#connections].map(async connection => {
          await leave(connection, over.signal)
          await connection.close()
        }),
      )
      await within(left, graceMs)
      over.abort()
      void handled(left)
    }
    await Promise.all([...this.#connections].map(connection => connection.closeNow().catch(() => connection.destroy())))
    this.#suspended?.close()
    await stopped
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
