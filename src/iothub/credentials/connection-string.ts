/**
 * Connection strings of an IoT Hub, for devices, modules and services: text to fields and back.
 *
 * Pairs `name=value` separated by `;`, each split at its first `=` because keys are base64 and end in one. Names are
 * case-sensitive; unknown names and empty values are passed over, and told where something is missing; a known name given
 * twice is refused. No message of an error thrown here contains any part of a value. Facts: spec-notes/iothub.md, connection strings.
 */

import { UsageError } from '../../errors.ts'
import { checkNames, type Names } from '../check-names.ts'

/** What a device or a module needs to reach its hub. Exactly one of key, signature and `x509` is set. */
export interface DeviceConnectionString {
  readonly kind: 'device'
  /** Host name of the hub, without port; an IPv6 address stands without brackets. */
  readonly hostName: string
  /** TCP port after `HostName`, 1 … 65535; `undefined` means the default of the transport. */
  readonly port?: number | undefined
  /** As written; case-sensitive. */
  readonly deviceId: string
  readonly moduleId?: string | undefined
  /** Policy that the key belongs to; absent when it is the identity's own key. */
  readonly keyName?: string | undefined
  /** Symmetric key, base64. Secret. */
  readonly sharedAccessKey?: string | undefined
  /** A ready-made token. Secret. */
  readonly sharedAccessSignature?: string | undefined
  /** `true`: the TLS client certificate, given separately, is the credential. */
  readonly x509: boolean
  /** Host to connect to instead of `hostName`; tokens keep naming `hostName`. */
  readonly gatewayHostName?: string | undefined
  readonly gatewayPort?: number | undefined
}

/** What a back end needs to reach a hub under one of its policies. Exactly one of key and signature is set. */
export interface ServiceConnectionString {
  readonly kind: 'service'
  /** Host name of the hub, without port; an IPv6 address stands without brackets. */
  readonly hostName: string
  /** TCP port after `HostName`, 1 … 65535; `undefined` means the default of the transport. */
  readonly port?: number | undefined
  /** Name of the shared access policy. */
  readonly keyName: string
  /** Symmetric key, base64. Secret. */
  readonly sharedAccessKey?: string | undefined
  /** A ready-made token. Secret. */
  readonly sharedAccessSignature?: string | undefined
}

/** Either form, told apart by `kind`. */
export type ConnectionString = DeviceConnectionString | ServiceConnectionString

/**
 * Reads a connection string; one with a `DeviceId` is a device's, any other a service's.
 *
 * @param text  `HostName=…;DeviceId=…;SharedAccessKey=…` and the like; blanks around names and values are dropped
 * @returns absent parts are `undefined`
 * @throws {UsageError} naming the part that is missing, given twice, malformed, or in conflict with another; where one is
 *   missing also those whose names mean nothing
 */
export function parseConnectionString(text: string): ConnectionString {
  const { pairs, unknown } = readPairs(text)
  const missing = (what: string): UsageError => fault(`${what} missing${unknown}`)
  const host = hostAndPort(pairs, 'HostName')
  if (host === undefined) throw missing('HostName is')
  const deviceId = pairs.get('DeviceId')
  const keyName = pairs.get('SharedAccessKeyName')
  const sharedAccessKey = pairs.get('SharedAccessKey')
  const sharedAccessSignature = pairs.get('SharedAccessSignature')
  if (sharedAccessKey !== undefined && sharedAccessSignature !== undefined) {
    throw fault('SharedAccessKey and SharedAccessSignature exclude each other')
  }
  const hasSecret = sharedAccessKey !== undefined || sharedAccessSignature !== undefined
  const common = { hostName: host.name, port: host.port, sharedAccessKey, sharedAccessSignature }

  if (deviceId === undefined) {
    if (pairs.has('ModuleId')) throw missing('DeviceId (beside ModuleId) is')
    if (keyName === undefined) throw missing('DeviceId (for a device) or SharedAccessKeyName (for a service) is')
    if (!hasSecret) throw missing('SharedAccessKey or SharedAccessSignature is')
    return { kind: 'service', keyName, ...common }
  }

  const x509 = flag(pairs, 'x509')
  if (x509 && hasSecret) throw fault('x509=true excludes SharedAccessKey and SharedAccessSignature')
  if (!x509 && !hasSecret) throw missing('SharedAccessKey, SharedAccessSignature or x509=true is')
  const gateway = hostAndPort(pairs, 'GatewayHostName')
  return {
    kind: 'device',
    deviceId,
    moduleId: pairs.get('ModuleId'),
    keyName,
    x509,
    gatewayHostName: gateway?.name,
    gatewayPort: gateway?.port,
    ...common,
  }
}

/**
 * What a connection string says, or what was read from one earlier; `undefined` for credentials of another kind.
 *
 * @throws {UsageError} as {@link formatConnectionString} does: the fields may have been changed since; or there are fields
 *   of both kinds
 */
export function fieldsOf(credentials: unknown): ConnectionString | undefined {
  if (typeof credentials === 'string') return parseConnectionString(credentials)
  const { kind, sas, x509 } = (credentials ?? {}) as { readonly kind?: unknown; sas?: unknown; x509?: unknown }
  if (kind !== 'device' && kind !== 'service') return undefined
  const other = sas !== undefined ? 'sas' : typeof x509 === 'object' ? 'x509' : undefined
  if (other !== undefined)
    throw new UsageError(
      `IoT Hub: \`${other}\` does not go with the fields of a connection string (kind: '${kind}'); write ` +
        `{ hostName, ${kind === 'device' ? 'deviceId' : 'keyName'}, ${other} }, with a port as hostName: 'host:port'`,
    )
  return parseConnectionString(formatConnectionString(credentials as ConnectionString))
}

/**
 * Writes the connection string that parses to `fields`, in the order that the Azure portal prints.
 *
 * @returns text that contains the secrets of `fields`; do not log it
 * @throws {UsageError} where {@link parseConnectionString} would refuse the result, or a value is empty, contains `;`,
 *   or begins or ends with a blank; there is no such field
 */
export function formatConnectionString(fields: ConnectionString): string {
  checkNames('field of a connection string', fields, FIELDS)
  const { kind, hostName, port, sharedAccessKey, sharedAccessSignature } = fields
  if (typeof hostName !== 'string') throw fault('HostName is missing')
  const device = kind === 'device' ? fields : undefined
  const pairs: readonly (readonly [name: string, value: string | undefined])[] = [
    ['HostName', withPort(hostName, port)],
    ['DeviceId', device?.deviceId],
    ['ModuleId', device?.moduleId],
    ['SharedAccessKeyName', fields.keyName],
    ['SharedAccessKey', sharedAccessKey],
    ['SharedAccessSignature', sharedAccessSignature],
    ['x509', device?.x509 ? 'true' : undefined],
    ['GatewayHostName', device?.gatewayHostName && withPort(device.gatewayHostName, device.gatewayPort)],
  ]
  const parts: string[] = []
  for (const [name, value] of pairs) {
    if (value === undefined) continue
    if (typeof value !== 'string') throw fault(`${name} must be a text`)
    if (value === '' || value !== value.trim() || value.includes(';')) {
      throw fault(`${name} must not be empty, contain ';', or begin or end with a blank`)
    }
    parts.push(`${name}=${value}`)
  }
  const text = parts.join(';')
  parseConnectionString(text)
  return text
}

/** Of either kind. */
const FIELDS: Names<DeviceConnectionString & ServiceConnectionString> = {
  ...{ kind: 0, hostName: 0, port: 0, deviceId: 0, moduleId: 0, keyName: 0, sharedAccessKey: 0 },
  ...{ sharedAccessSignature: 0, x509: 0, gatewayHostName: 0, gatewayPort: 0 },
}

const knownNames: readonly string[] = [
  'HostName',
  'DeviceId',
  'ModuleId',
  'SharedAccessKeyName',
  'SharedAccessKey',
  'SharedAccessSignature',
  'x509',
  'GatewayHostName',
]

/** `unknown` is of names that mean nothing, in words for the end of a message. */
function readPairs(text: string): { readonly pairs: ReadonlyMap<string, string>; readonly unknown: string } {
  const pairs = new Map<string, string>()
  const others: string[] = []
  let position = 0
  for (const part of text.split(';')) {
    position++
    if (part.trim() === '') continue
    const equals = part.indexOf('=')
    if (equals < 0) throw fault(`part ${position} is not name=value`)
    const name = part.slice(0, equals).trim()
    const value = part.slice(equals + 1).trim()
    if (!knownNames.includes(name)) others.push(NAME.test(name) ? JSON.stringify(name) : `that of part ${position}`)
    if (value === '' || !knownNames.includes(name)) continue
    if (pairs.has(name)) throw fault(`${name} is given twice`)
    pairs.set(name, value)
  }
  const quoted = /^\s*["'`]/.test(text) ? '; quotes around it are no part of it' : ''
  const unknown = others.length === 0 ? '' : `; names that mean nothing: ${others.slice(0, 8).join(', ')}`
  return { pairs, unknown: unknown + quoted }
}

/** What is said of an unknown name: with a `;` in the wrong place a key may stand where a name belongs; none is as short. */
const NAME = /^["'`]?(?:[a-z]{1,21}|x\d{1,4})$/i

function hostAndPort(
  pairs: ReadonlyMap<string, string>,
  name: string,
): { readonly name: string; readonly port: number | undefined } | undefined {
  const value = pairs.get(name)
  if (value === undefined) return undefined
  const { host, port } = readHost(value) ?? {}
  if (host === undefined) throw fault(`${name} must be a host name, optionally followed by :port`)
  if (port !== undefined && (port < 1 || port > 65_535)) throw fault(`the port of ${name} must be 1 … 65535`)
  return { name: host, port }
}

/**
 * Reads a host name that may be followed by `:port`; an IPv6 address stands in brackets, which are taken off. What has a
 * meaning of its own in a URL, or in what goes over a wire by lines, is in no name.
 *
 * @returns `undefined` for any other text
 */
export function readHost(text: string): { readonly host: string; readonly port: number | undefined } | undefined {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^\s\p{Cc}:/?#@[\]\\]+))(?::(\d{1,5}))?$/iu.exec(text)
  const host = match?.[1] ?? match?.[2]
  return host === undefined ? undefined : { host, port: match?.[3] === undefined ? undefined : Number(match[3]) }
}

function flag(pairs: ReadonlyMap<string, string>, name: string): boolean {
  const value = pairs.get(name)?.toLowerCase()
  if (value !== undefined && value !== 'true' && value !== 'false') throw fault(`${name} must be true or false`)
  return value === 'true'
}

function withPort(host: string, port: number | undefined): string {
  const bracketed = host.includes(':') ? `[${host}]` : host
  return port === undefined ? bracketed : `${bracketed}:${port}`
}

function fault(problem: string): UsageError {
  return new UsageError(`connection string: ${problem}`)
}
