/**
 * SASL PLAIN as a hub takes it: the user name says who, the password is a token that must prove it.
 *
 * What comes of a login has to reach the connection through the one text that a SASL mechanism may hand on; that text
 * is made and read here. Facts: spec-notes/iothub.md, SASL PLAIN. RFC 4616
 */

import type { Principal } from './access.ts'
import type { DeviceRegistry } from './device-registry.ts'
import { isProvisioningIdentity } from './provisioning/provisioning-node.ts'

/** Who logged in, and how long the token is good for. */
export interface PlainLogin {
  readonly principal: Principal
  readonly expiresAt: Date
}

/**
 * Verifies a login.
 *
 * @param username  `{device}@sas.{hub}`, `{device}/modules/{module}@sas.{hub}` or `{policy}@sas.root.{hub}`; ids raw or
 *   percent-encoded. For the event hub the bare name of a policy.
 * @param password  the token; for the event hub a key of the policy
 * @param options   `now` in ms since 1970; `skewMs` as for `verifySasToken`
 * @returns text for {@link readIdentity}, or `false`
 */
export async function checkPlain(
  registry: DeviceRegistry,
  hubName: string,
  username: string,
  password: string,
  options: { readonly now: number; readonly skewMs: number },
): Promise<string | false> {
  const policy = username.includes('@') ? undefined : registry.eventHubPolicy(username, password)
  if (policy !== undefined) return JSON.stringify({ principal: policy, expiresAt: NEVER })
  const match = /^(.+)@sas\.(root\.)?([^@]+)$/.exec(username)
  const [, name = '', root, hub = ''] = match ?? []
  if (hub.toLowerCase() !== hubName.toLowerCase()) return false
  const authentication = await registry.authenticate(password, options)
  if (!authentication.ok) return false
  const { principal, token } = authentication
  if ((principal.kind === 'device') === (root !== undefined)) return false
  const expected = nameOf(principal)
  if (name !== expected && decoded(name) !== expected) return false
  return JSON.stringify({ principal, expiresAt: token.expiresAt.getTime() })
}

/** The identity of whoever used EXTERNAL. Fixed: what the peer itself says must not be taken for a login. */
export const EXTERNAL_IDENTITY = 'certificate'

/** Reads what {@link checkPlain} gave; `undefined` for the identity of a connection that did not log in to the hub so. */
export function readIdentity(identity: string | undefined): PlainLogin | undefined {
  if (identity === undefined || identity === EXTERNAL_IDENTITY || isProvisioningIdentity(identity)) return undefined
  const { principal, expiresAt } = JSON.parse(identity) as { principal: Principal; expiresAt: number }
  return { principal, expiresAt: new Date(expiresAt) }
}

/** In ms since 1970: a key has no end. */
const NEVER = 8_640_000_000_000_000

function nameOf(principal: Principal): string {
  if (principal.kind !== 'device') return principal.policy
  const { deviceId, moduleId } = principal
  return moduleId === undefined ? deviceId : `${deviceId}/modules/${moduleId}`
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
