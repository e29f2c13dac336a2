/**
 * Device provisioning: asks the Device Provisioning Service which hub a device belongs to, and who it is there.
 *
 * A conversation over a pair of links with one address: a request to register, then questions as to how it goes, until
 * the service has assigned a hub. Symmetric keys, of the device or derived from its group's, by SASL PLAIN; certificates
 * by TLS alone. Facts: spec-notes/iothub.md, provisioning.
 */

import { connect } from '../../client/connect.ts'
import { sasl } from '../../client/sasl.ts'
import { SaslError, UsageError } from '../../errors.ts'
import { checkNames, type Names } from '../check-names.ts'
import { hubWebSocket, type IotHubOptions, REACH } from '../connection/hub-options.ts'
import { hiding } from '../credentials/hidden.ts'
import { type HostAndPort, splitHost } from '../credentials/login.ts'
import { createSasToken, deriveDeviceKey, isSharedAccessKey } from '../credentials/sas.ts'
import { checkCertificate, withCertificate, type X509Credential } from '../credentials/x509.ts'
import type { DeviceCredentials } from '../device-client.ts'
import { ProvisioningLink } from './provisioning-link.ts'
import { type RegistrationState, textOf } from './provisioning-message.ts'

/** Who asks to be provisioned, how it proves itself, and how to reach the service. One proof is needed. */
export interface ProvisionOptions extends Omit<IotHubOptions, 'auth' | 'reconnect' | 'tokens' | 'maxQueued'> {
  /** Of the provisioning service, e.g. `0ne00ABCDEF`. */
  readonly idScope: string
  /** Of the device, as enrolled. */
  readonly registrationId: string
  /** Proof: the key of the device's own enrolment, or one that was derived for it already; base64. Secret. */
  readonly key?: string | undefined
  /** Proof: the key of its group, from which its own is derived; base64. Secret, and best kept away from devices. */
  readonly groupKey?: string | undefined
  /** Proof: its certificate. */
  readonly x509?: X509Credential | undefined
  /** Handed to the service's allocation, as JSON. */
  readonly payload?: unknown
  /** Register although the device is assigned already. Default false. */
  readonly force?: boolean | undefined
  /** The service, optionally with `:port`. Default `global.azure-devices-provisioning.net`. */
  readonly host?: string | undefined
  /** Milliseconds that all of it may take, above 0; 2^31 − 1 at most are waited for. Default 120,000. */
  readonly timeoutMs?: number | undefined
}

/** A device that has been assigned to a hub. */
export interface ProvisionedDevice {
  /** Host of the hub. */
  readonly hub: string
  readonly deviceId: string
  readonly registrationId: string
  /**
   * What `DeviceClient.connect` takes. The proof is in it, as `sas.key` or `x509.key`: it can be read, and is in its JSON,
   * but `util.inspect` and `console.log` do not show it.
   */
  readonly credentials: DeviceCredentials
  /** How it was assigned, e.g. `initialAssignment`. */
  readonly substatus: string | undefined
  /** When it was first registered. */
  readonly createdAt: Date | undefined
  /** When the registration last changed. */
  readonly updatedAt: Date | undefined
  /** What the service's allocation has for the device, from JSON. */
  readonly payload: unknown
}

/**
 * Registers a device with the provisioning service and waits until it has been assigned to a hub, as often and as long
 * as the service says. What the service cannot do just now, because it is throttled or failed, is asked again.
 *
 * @throws {UsageError} there is no proof, or more than one; an option is missing or unknown, a key is not base64, the payload not
 *   JSON
 * @throws {SaslError} the service refused the key
 * @throws {RemoteError} it refused the registration, or has failed or disabled it. `condition` is that of the refusal;
 *   else `amqp:not-allowed` for a registration that is disabled, otherwise after the error code. `info` has `status`
 *   (`failed`, `disabled`, `unassigned`, …), `error-code` (HTTP status × 1000 + n, e.g. 401002) and `tracking-id`, as far
 *   as they are known
 * @throws {DeliveryError} it took no notice of a request: released, modified, or rejected without a reason
 * @throws {ProtocolError} an answer that cannot be understood
 * @throws {TransportError} the service cannot be reached, or its certificate is not trusted
 * @throws {ClosedError} link or connection ended first
 *
 * After `timeoutMs` it rejects with a `TimeoutError`, as `AbortSignal.timeout` does.
 * Cancellation drops the connection; the service may assign the device all the same.
 */
export async function provision(options: ProvisionOptions): Promise<ProvisionedDevice> {
  const { place, address, key } = await checked(options)
  const { idScope, registrationId, payload, force = false, timeoutMs = 120_000, trace } = options
  const late = AbortSignal.timeout(Math.min(Math.ceil(timeoutMs), LONGEST_MS))
  const signal = options.signal ? AbortSignal.any([options.signal, late]) : late
  signal.throwIfAborted()
  const { tls, transport, webSocket, proxy } = options
  const security = key === undefined && !transport ? withCertificate(tls, options.x509) : (tls ?? true)
  const connection = await connect({
    ...place,
    ...(transport === undefined
      ? { tls: security, webSocket: hubWebSocket(webSocket), proxy }
      : { transport: typeof transport === 'function' ? transport(place.host) : transport }),
    sasl: key === undefined ? false : sasl.plain(address, await tokenFor(address, key)),
    signal,
    trace,
  }).catch(error => {
    if (!(error instanceof SaslError)) throw error
    // The service gives one answer to all three.
    const causes = error.outcome === 'auth' ? '; the id scope, the registration id or the key is wrong' : ''
    const who = `registration '${registrationId}' in id scope '${idScope}'`
    throw new SaslError(`${who}: ${error.message}${causes}`, error.outcome, error)
  })
  try {
    const link = await ProvisioningLink.attach(connection, address, { signal })
    const state = await link.register({ registrationId, payload }, force, { signal })
    return deviceOf(options, key, state, place)
  } finally {
    connection.close().catch(() => {})
  }
}

/** What a timer can wait. */
const LONGEST_MS = 2 ** 31 - 1
const GLOBAL_HOST = 'global.azure-devices-provisioning.net'
/** What the service calls the policy of every registration. */
const KEY_NAME = 'registration'
const TOKEN_LIFE_MS = 3_600_000

interface Checked {
  readonly place: HostAndPort
  readonly address: string
  /** `undefined` for a certificate. */
  readonly key: string | undefined
}

const OPTIONS: Names<ProvisionOptions> = {
  ...REACH,
  idScope: 0,
  registrationId: 0,
  key: 0,
  groupKey: 0,
  x509: 0,
  payload: 0,
  force: 0,
  host: 0,
  timeoutMs: 0,
}

async function checked(options: ProvisionOptions): Promise<Checked> {
  checkNames('option of provision', options, OPTIONS)
  const { idScope, registrationId, host = GLOBAL_HOST, key, groupKey, x509, timeoutMs = 1 } = options
  for (const [name, text] of Object.entries({ idScope, registrationId }))
    if (typeof text !== 'string' || text === '' || text.includes('/'))
      throw new UsageError(`provisioning: ${name} is a text without a slash, and not empty`)
  if (typeof timeoutMs !== 'number' || !(timeoutMs > 0))
    throw new UsageError('provisioning: timeoutMs must be greater than 0')
  if ([key, groupKey, x509].filter(proof => proof !== undefined).length !== 1)
    throw new UsageError('provisioning: one of `key`, `groupKey` and `x509` is the proof')
  if (x509 !== undefined) checkCertificate(x509)
  for (const [name, text] of Object.entries({ key, groupKey }))
    if (text !== undefined && !isSharedAccessKey(text))
      throw new UsageError(`registration '${registrationId}': \`${name}\` is not base64, as when it has been cut off`)
  return {
    place: splitHost(host),
    address: `${idScope}/registrations/${registrationId}`,
    key: groupKey === undefined ? key : await deriveDeviceKey(groupKey, registrationId),
  }
}

function tokenFor(address: string, key: string): Promise<string> {
  const expiresAt = new Date(Date.now() + TOKEN_LIFE_MS)
  return createSasToken({ resourceUri: address, key, keyName: KEY_NAME, expiresAt })
}

function deviceOf(
  options: ProvisionOptions,
  key: string | undefined,
  state: RegistrationState,
  place: HostAndPort,
): ProvisionedDevice {
  const { deviceId } = state
  const hub = options.webSocket ? webSocketHub(state.assignedHub, place) : state.assignedHub
  const proof = key === undefined ? { x509: certificateOf(options.x509) } : { sas: hiding({ key }, 'key') }
  return {
    hub,
    deviceId,
    registrationId: options.registrationId,
    credentials: { hostName: hub, deviceId, ...proof },
    substatus: textOf(state['substatus']),
    createdAt: dateOf(state['createdDateTimeUtc']),
    updatedAt: dateOf(state['lastUpdatedDateTimeUtc']),
    payload: state['payload'],
  }
}

function certificateOf(x509: X509Credential | undefined): X509Credential | undefined {
  if (x509 === undefined) return undefined
  const { cert, key, passphrase } = x509
  return hiding({ cert, key, ...(passphrase !== undefined && { passphrase }) }, 'key', 'passphrase')
}

/** As with a redirect: the port that is named is for AMQP, and a hub on the service's own host is where that was reached. */
function webSocketHub(hub: string, { host, port }: HostAndPort): string {
  const assigned = splitHost(hub)
  if (assigned.port === undefined || assigned.host.toLowerCase() !== host.toLowerCase()) return hub
  const name = hub.slice(0, hub.lastIndexOf(':'))
  return port === undefined ? name : `${name}:${port}`
}

function dateOf(value: unknown): Date | undefined {
  const date = new Date(typeof value === 'string' ? value : Number.NaN)
  return Number.isNaN(date.getTime()) ? undefined : date
}
