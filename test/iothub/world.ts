/** A hub over memory, clients of it that stay up, and ways to get between them. */

import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import type { IotHubEmulatorOptions } from '../../src/emulator/options.ts'
import type { Transport } from '../../src/io/transport.ts'
import type { IotHubOptions } from '../../src/iothub/connection/hub-options.ts'
import { DeviceClient, type DeviceOptions } from '../../src/iothub/device-client.ts'
import { ServiceClient } from '../../src/iothub/service-client.ts'
import { until } from '../waiting.ts'

/** Waits short enough for a test. */
export const QUICK = { initialMs: 1, maxMs: 5, throttledMs: 30 } as const

/** A way to a hub that can be cut and barred, of one client. */
export class Way {
  readonly hub: IotHubEmulator
  /** Hosts that were dialled, in order. */
  readonly dialled: string[] = []
  /** States that were told. */
  readonly states: string[] = []
  #isBarred = false
  readonly #ends: Transport[] = []

  constructor(hub: IotHubEmulator) {
    this.hub = hub
  }

  /** For `transport`. */
  readonly dial = (host: string): Transport => {
    this.dialled.push(host)
    const transport = this.hub.transport()
    if (this.#isBarred) queueMicrotask(() => transport.destroy())
    this.#ends.push(transport)
    return transport
  }

  /** Drops every connection there is. */
  cut(): void {
    for (const transport of this.#ends.splice(0)) transport.destroy()
  }

  /** Drops the connection, and waits until that is known. */
  async lose(): Promise<void> {
    const count = this.states.filter(state => state === 'waiting').length
    this.cut()
    await until(() => this.states.filter(state => state === 'waiting').length > count)
  }

  /** Has attempts fail from now on, or not. */
  bar(isBarred: boolean): void {
    this.#isBarred = isBarred
    if (isBarred) this.cut()
  }

  options(more: IotHubOptions = {}): IotHubOptions {
    const { reconnect = {} } = more
    const onStateChange = ({ state }: { state: string }): unknown => this.states.push(state)
    return {
      transport: this.dial,
      ...more,
      reconnect: reconnect && { ...QUICK, stableMs: 60_000, ...reconnect, onStateChange },
    }
  }
}

/** Resources of a test, closed in reverse order. */
export class World {
  readonly #opened: AsyncDisposable[] = []

  kept<T extends AsyncDisposable>(resource: T): T {
    this.#opened.push(resource)
    return resource
  }

  async close(): Promise<void> {
    for (const resource of this.#opened.splice(0).reverse()) await resource[Symbol.asyncDispose]()
  }

  async hub(options: IotHubEmulatorOptions = {}): Promise<IotHubEmulator> {
    return this.kept(await IotHubEmulator.start({ listen: 'memory', devices: ['d1'], feedbackBatchMs: 5, ...options }))
  }

  async device(
    hub: IotHubEmulator,
    more: DeviceOptions = {},
    deviceId = 'd1',
  ): Promise<{ device: DeviceClient; way: Way }> {
    const way = new Way(hub)
    return {
      device: this.kept(await DeviceClient.connect(hub.connectionString({ deviceId }), way.options(more))),
      way,
    }
  }

  async moduleOf(hub: IotHubEmulator, deviceId: string, moduleId: string): Promise<{ device: DeviceClient; way: Way }> {
    const way = new Way(hub)
    const connecting = DeviceClient.connect(hub.connectionString({ deviceId, moduleId }), way.options())
    return { device: this.kept(await connecting), way }
  }

  async service(hub: IotHubEmulator, more: IotHubOptions = {}): Promise<{ service: ServiceClient; way: Way }> {
    const way = new Way(hub)
    const connected = await ServiceClient.connect(hub.connectionString({ service: true }), way.options(more))
    return { service: this.kept(connected), way }
  }
}

export const text = (body: Uint8Array): string => new TextDecoder().decode(body)

/** The key in a connection string. */
export const keyOf = (connectionString: string): string => /SharedAccessKey=([^;]+)/.exec(connectionString)?.[1] ?? ''

/** The first so many bodies of the telemetry that a hub has. */
export async function telemetryOf(hub: IotHubEmulator, count: number): Promise<string[]> {
  const bodies: string[] = []
  if (count === 0) return bodies
  for await (const event of hub.telemetry) if (bodies.push(text(event.body)) === count) break
  return bodies
}
