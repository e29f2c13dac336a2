/**
 * What a hub serves to back ends over HTTPS and nowhere else: calls of direct methods, and twins. From a request, taken
 * apart, to a response; the listener is in `https-listener.ts`.
 *
 * Paths, bodies and codes are those of the service's REST API, of which this is a small part. Facts: spec-notes/
 * iothub.md, HTTPS.
 */

import { isInScope } from '../../iothub/credentials/sas.ts'
import { isJsonObject } from '../../iothub/twins/merge-patch.ts'
import { type Authentication, FAILURES } from '../device-registry.ts'
import { checkCall, METHOD_ERRORS } from '../invocation.ts'
import type { DeviceNode } from '../nodes/device-node.ts'
import { twinView } from '../twins/twin-view.ts'

/** A request. */
export interface ApiRequest {
  readonly method: string
  /** Path and query, as sent. */
  readonly url: string
  readonly authorization: string | undefined
  readonly ifMatch: string | undefined
  readonly body: string
}

/** A response. */
export interface ApiResponse {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>> | undefined
  readonly body: unknown
}

/** What the API works with. */
export interface ServiceApiOptions {
  readonly hostName: string
  /** The time, in ms since 1970. */
  now(): number
  /** Verifies a token. */
  authenticate(token: string): Promise<Authentication>
  /** The node of a device or module; `undefined` when it is not registered. */
  device(deviceId: string, moduleId: string | undefined): DeviceNode | undefined
}

/** What a path names. */
interface Resource {
  readonly deviceId: string
  readonly moduleId: string | undefined
  readonly isMethods: boolean
}

/** What a body may have. */
interface Fields {
  readonly methodName?: unknown
  readonly payload?: unknown
  readonly responseTimeoutInSeconds?: unknown
  readonly connectTimeoutInSeconds?: unknown
  readonly tags?: unknown
  readonly properties?: unknown
}

/** Answers requests. */
export class ServiceApi {
  readonly #options: ServiceApiOptions

  constructor(options: ServiceApiOptions) {
    this.#options = options
  }

  /** Answers a request; it never rejects for anything in the request. */
  async handle(request: ApiRequest): Promise<ApiResponse> {
    const [path = '', query] = request.url.split('?', 2)
    const resource = parsePath(path)
    if (resource === undefined) return this.#error(404, 'ResourceNotFound', 'there is no such resource')
    const refused = await this.#refusal(request.authorization, path)
    if (refused !== undefined) return this.#error(401, 'IotHubUnauthorizedAccess', `Unauthorized: ${refused}`)
    if (!new URLSearchParams(query).get('api-version'))
      return this.#error(400, 'ArgumentNull', 'api-version is missing')
    const node = this.#options.device(resource.deviceId, resource.moduleId)
    if (node === undefined) {
      const code = this.#options.device(resource.deviceId, undefined) ? 'ModuleNotFound' : 'DeviceNotFound'
      return this.#error(404, code, 'the device or module is not registered')
    }
    if (resource.isMethods)
      return request.method === 'POST' ? await this.#invoke(node, request) : this.#wrongMethod('POST')
    if (request.method === 'GET') return twinResponse(node)
    return request.method === 'PATCH' ? this.#patch(node, request) : this.#wrongMethod('GET, PATCH')
  }

  /** Why a token does not serve; it has to be of a policy with the right ServiceConnect, and cover the path. */
  async #refusal(token: string | undefined, path: string): Promise<string | undefined> {
    if (!token) return 'the header Authorization is missing'
    const authentication = await this.#options.authenticate(token)
    if (!authentication.ok) return FAILURES[authentication.reason]
    const { principal } = authentication
    if (principal.kind === 'device') return 'the token is that of a device'
    if (!principal.rights.includes('ServiceConnect')) return 'the policy has not the right ServiceConnect'
    const isCovered = isInScope(principal.sr, `${this.#options.hostName}${decodeURIComponent(path)}`)
    return isCovered ? undefined : 'the token does not cover this resource'
  }

  async #invoke(node: DeviceNode, { body }: ApiRequest): Promise<ApiResponse> {
    const fields = parseObject(body)
    if (fields === undefined) return this.#badRequest('the body is no JSON object')
    const { methodName, payload = null, responseTimeoutInSeconds = 30, connectTimeoutInSeconds = 0 } = fields
    if (!isWithin(responseTimeoutInSeconds, 5, MAX_SECONDS))
      return this.#badRequest(`responseTimeoutInSeconds must be 5 … ${MAX_SECONDS}`)
    if (!isWithin(connectTimeoutInSeconds, 0, MAX_SECONDS))
      return this.#badRequest(`connectTimeoutInSeconds must be 0 … ${MAX_SECONDS}`)
    const call = {
      name: methodName as string,
      payload,
      responseTimeoutMs: responseTimeoutInSeconds * 1000,
      connectTimeoutMs: connectTimeoutInSeconds * 1000,
    }
    const wrong = checkCall(call)
    if (wrong !== undefined) return this.#badRequest(wrong)
    const answer = await node.methods.call(call)
    if (answer.result === 'answered') return { status: 200, body: { status: answer.status, payload: answer.payload } }
    if (answer.result === 'closed') return this.#error(503, 'ServiceUnavailable', 'the hub is closing')
    return this.#methodError(answer.result)
  }

  #patch(node: DeviceNode, { body, ifMatch }: ApiRequest): ApiResponse {
    const fields = parseObject(body)
    if (fields === undefined) return this.#badRequest('the body is no JSON object')
    const { tags, properties = {} } = fields
    if (!isJsonObject(properties)) return this.#badRequest('properties is no object')
    const { desired }: { desired?: unknown } = properties
    const etag = ifMatch?.trim().replace(/^"(.*)"$/, '$1')
    const change = node.twin.patch({ tags, desired }, etag === '*' ? undefined : etag)
    if (change.ok) return twinResponse(node)
    const code = { 400: 'ArgumentInvalid', 412: 'PreconditionFailed', 413: 'RequestEntityTooLarge' }[change.status]
    return this.#error(change.status, code, change.reason)
  }

  #badRequest(message: string): ApiResponse {
    return this.#error(400, 'ArgumentInvalid', message)
  }

  #wrongMethod(allowed: string): ApiResponse {
    const error = this.#error(405, 'MethodNotAllowed', `this resource takes ${allowed}`)
    return { ...error, headers: { ...error.headers, Allow: allowed } }
  }

  /** The one form of errors. A semicolon ends the code, so none is in the text. */
  #error(status: number, code: string, text: string): ApiResponse {
    return {
      status,
      headers: { 'iothub-errorcode': code },
      body: { Message: `ErrorCode:${code};${text}`, ExceptionMessage: `Tracking ID:${this.#trackingId()}` },
    }
  }

  /** The other form: JSON in a text. */
  #methodError(result: keyof typeof METHOD_ERRORS): ApiResponse {
    const timestampUtc = new Date(this.#options.now()).toISOString()
    const text = { ...METHOD_ERRORS[result], trackingId: this.#trackingId(), info: {}, timestampUtc }
    const [status, code] = result === 'offline' ? [404, 'DeviceNotOnline'] : [504, 'GatewayTimeout']
    return {
      status,
      headers: { 'iothub-errorcode': code },
      body: { Message: JSON.stringify(text), ExceptionMessage: '' },
    }
  }

  #trackingId(): string {
    const time = new Date(this.#options.now()).toISOString()
    return `${globalThis.crypto.randomUUID().replaceAll('-', '')}-G:0-TimeStamp:${time}`
  }
}

/** Longest of both times. */
const MAX_SECONDS = 300

function twinResponse(node: DeviceNode): ApiResponse {
  const twin = twinView(node)
  return { status: 200, headers: { ETag: `"${twin.etag}"` }, body: twin }
}

/** `/twins/{d}[/modules/{m}][/methods]` */
function parsePath(path: string): Resource | undefined {
  const segments = path.split('/').slice(1).map(decodeSegment)
  if (segments.some(segment => segment === undefined || segment === '')) return undefined
  const isMethods = segments.length > 2 && segments.at(-1)?.toLowerCase() === 'methods' && segments.length % 2 === 1
  const [twins, deviceId, modules, moduleId, ...rest] = isMethods ? segments.slice(0, -1) : segments
  if (twins?.toLowerCase() !== 'twins' || deviceId === undefined || rest.length > 0) return undefined
  if (modules !== undefined && (modules.toLowerCase() !== 'modules' || moduleId === undefined)) return undefined
  return { deviceId, moduleId, isMethods }
}

function decodeSegment(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

function parseObject(text: string): Fields | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isJsonObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

function isWithin(value: unknown, from: number, to: number): value is number {
  return typeof value === 'number' && value >= from && value <= to
}
