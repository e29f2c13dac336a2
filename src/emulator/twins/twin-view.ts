/** Twins from behind the hub: what back ends see of one, and change. Facts: spec-notes/iothub.md, twins. */

import { RemoteError, UsageError } from '../../errors.ts'
import { HubCondition } from '../../iothub/connection/conditions.ts'
import type { Shape } from '../check-shape.ts'
import type { DeviceNode } from '../nodes/device-node.ts'
import type { TwinNode } from '../nodes/twin-node.ts'

/** The twin of a device or module. */
export interface TwinView {
  readonly deviceId: string
  /** Of a module only. */
  readonly moduleId?: string | undefined
  /** Changes with each change of tags or desired properties. */
  readonly etag: string
  readonly status: 'enabled'
  /** Whether the device has a link to the hub. */
  readonly connectionState: 'Connected' | 'Disconnected'
  /** Counts all changes. */
  readonly version: number
  readonly tags: Readonly<Record<string, unknown>>
  /** Each with `$metadata`, the time of the last change at each level, and `$version`, which counts from 1. */
  readonly properties: {
    readonly desired: Readonly<Record<string, unknown>>
    readonly reported: Readonly<Record<string, unknown>>
  }
}

/** Which twin, and which state of it. */
export interface UpdateDesiredOptions {
  /** The twin of a module of the device. */
  readonly moduleId?: string | undefined
  /** Change it only if it has this etag. */
  readonly etag?: string | undefined
}

/** Of their types. */
export const UPDATE_OPTIONS: Shape<UpdateDesiredOptions> = { moduleId: 'text', etag: 'text' }

/** The twin of a node. A copy: what is done to it, is not done to the twin. */
export function twinView({ identity, isConnected, twin }: DeviceNode): TwinView {
  const { deviceId, moduleId } = identity
  return structuredClone({
    deviceId,
    ...(moduleId !== undefined && { moduleId }),
    status: 'enabled',
    connectionState: isConnected ? 'Connected' : 'Disconnected',
    ...twin.document.forService(),
  })
}

/**
 * Patches desired properties.
 *
 * @param who  for errors, e.g. `device 'd1'`
 * @returns their new version
 * @throws {UsageError} the patch is not what a twin takes
 * @throws {RemoteError} `com.microsoft:precondition-failed`: the twin has another etag
 */
export function updateDesired(twin: TwinNode, who: string, patch: object, etag: string | undefined): number {
  const change = twin.patch({ desired: jsonOf(patch, who) }, etag)
  if (change.ok) return twin.document.desiredVersion
  const { status, reason } = change
  if (status !== 412) throw new UsageError(`IoT Hub emulator: twin of ${who}: ${reason}`)
  throw new RemoteError(`the twin of ${who}`, 'delivery', {
    condition: HubCondition.preconditionFailed,
    description: reason,
  })
}

/** What JSON makes of it: that is what the device gets. */
function jsonOf(patch: object, who: string): unknown {
  try {
    return JSON.parse(JSON.stringify(patch ?? null))
  } catch {
    throw new UsageError(`IoT Hub emulator: twin of ${who}: the patch cannot be written as JSON`)
  }
}
