/** The demo with a device's connection string: sends telemetry to that hub. */

import { DeviceClient } from '../iothub.ts'
import type { Report } from './report.ts'

/** @throws whatever went wrong first */
export async function deviceDemo(
  report: Report,
  connectionString: string,
  ca: string | undefined,
  signal: AbortSignal,
): Promise<void> {
  report.title('Sending telemetry to an IoT Hub')
  const device = await DeviceClient.connect(connectionString, {
    signal,
    trace: report.trace('device'),
    ...(ca === undefined ? {} : { tls: { ca } }),
  })
  try {
    report.step('device', 'connected, authenticated by a SAS token (CBS put-token)')
    const body = JSON.stringify({ temperature: 21.5, sentAt: new Date().toISOString() })
    await device.sendTelemetry({ body, contentType: 'application/json', contentEncoding: 'utf-8' }, { signal })
    report.step('device', `sent telemetry ${body}: accepted`)
  } finally {
    await device.close()
  }
  report.summary('1 telemetry message')
}
