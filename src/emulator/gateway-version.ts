/**
 * The two gateways that real hubs have, as far as a client can tell them apart: what their open says, the order of their
 * SASL mechanisms, and a flow that leaves a field out.
 *
 * Facts: spec-notes/iothub.md, connections.
 */

import type { ListenOptions } from '../client/options.ts'
import type { SaslServerMechanism } from '../client/sasl/mechanism.ts'

/** `'v1'`: `DeviceGateway_…`. `'v2'`: the newer one, which leaves next-incoming-id out of its flows. */
export type GatewayVersion = 'v1' | 'v2'

/** The mechanisms of a hub. */
export interface GatewayMechanisms {
  readonly plain: SaslServerMechanism
  readonly anonymous: SaslServerMechanism
  readonly mssbcbs: SaslServerMechanism
  readonly external: SaslServerMechanism
}

/** What a gateway says of itself. */
export function gatewayListenOptions(
  version: GatewayVersion,
  { plain, anonymous, mssbcbs, external }: GatewayMechanisms,
): ListenOptions {
  const id = globalThis.crypto.randomUUID().replaceAll('-', '')
  return version === 'v1'
    ? {
        containerId: `DeviceGateway_${id}`,
        hostname: 'localhost',
        maxFrameSize: 65_536,
        channelMax: 8191,
        idleTimeOut: 240_000,
        sasl: [external, mssbcbs, anonymous, plain].map(welcoming),
      }
    : {
        containerId: id,
        hostname: '',
        maxFrameSize: 65_535,
        channelMax: 1024,
        idleTimeOut: 240_000,
        sasl: [plain, anonymous, mssbcbs, external],
        wireProfile: { omitNextIncomingId: true },
      }
}

/** The outcome says so. */
function welcoming(mechanism: SaslServerMechanism): SaslServerMechanism {
  return {
    name: mechanism.name,
    start: context => {
      const exchange = mechanism.start(context)
      return {
        step: async response => {
          const step = await exchange.step(response)
          return 'outcome' in step && step.outcome === 'ok' ? { ...step, additionalData: WELCOME } : step
        },
      }
    },
  }
}

const WELCOME = new TextEncoder().encode('Welcome!')
