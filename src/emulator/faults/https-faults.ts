/** Where the faults of a hub strike a request over HTTPS: late, refused with a status, or not answered at all. */

import type { EmulatorClock } from '../clock.ts'
import type { ApiRequest, ApiResponse } from '../listening/service-api.ts'
import type { Faults } from './faults.ts'

/** What handles a request; `undefined`: its connection is dropped. */
export type ApiHandler = (request: ApiRequest) => Promise<ApiResponse | undefined>

/** Handles what no fault strikes. */
export function withFaults(handle: ApiHandler, faults: Faults, clock: EmulatorClock): ApiHandler {
  return async request => {
    const fault = faults.https(request.url)
    if (fault === undefined) return handle(request)
    if ('status' in fault) return failure(fault.status)
    if ('drop' in fault) return undefined
    await new Promise<void>(resolve => {
      clock.setTimer(resolve, fault.delayMs)
    })
    return handle(request)
  }
}

/** In the form of the service's own errors. */
function failure(status: number): ApiResponse {
  const code = codes[status] ?? (status < 500 ? 'ArgumentInvalid' : 'ServerError')
  return {
    status,
    headers: { 'iothub-errorcode': code },
    body: { Message: `ErrorCode:${code};a fault on demand`, ExceptionMessage: '' },
  }
}

const codes: Readonly<Record<number, string>> = {
  401: 'IotHubUnauthorizedAccess',
  403: 'IotHubQuotaExceeded',
  404: 'DeviceNotFound',
  412: 'PreconditionFailed',
  429: 'ThrottlingException',
  503: 'ServiceUnavailable',
  504: 'GatewayTimeout',
}
