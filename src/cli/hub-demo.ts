/** The demo without a target: an IoT Hub in this process, a device and a service that talk through it over TLS. */

import { IotHubEmulator } from '../emulator.ts'
import { DeviceClient, ServiceClient } from '../iothub.ts'
import type { Report } from './report.ts'

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

/** Telemetry up, a command down, and the feedback on it. @throws whatever went wrong first */
export async function hubDemo(report: Report, signal: AbortSignal): Promise<void> {
  report.title('An IoT Hub in this process; a device and a service talk through it over TLS')
  const hub = await IotHubEmulator.start({ devices: ['device1'], feedbackBatchMs: 50 })
  report.step('hub', `listening on localhost:${hub.port}, with a certificate made for this run`)
  const tls = { ca: hub.ca }
  try {
    const device = await DeviceClient.connect(hub.connectionString({ deviceId: 'device1' }), {
      tls,
      signal,
      trace: report.trace('device'),
    })
    report.step('device', 'connected as device1, authenticated by a SAS token (CBS put-token)')
    await device.sendTelemetry({
      body: '{"temperature":21.5}',
      contentType: 'application/json',
      properties: { room: 'lab' },
    })
    report.step('device', 'sent telemetry {"temperature":21.5}: accepted')
    for await (const event of hub.telemetry) {
      report.step('hub', `has it: ${text(event.body)} from ${event.deviceId}, sequence number ${event.sequenceNumber}`)
      break
    }

    const service = await ServiceClient.connect(hub.connectionString({ service: true }), {
      tls,
      signal,
      auth: 'plain',
      trace: report.trace('service'),
    })
    report.step('service', 'connected with the policy "service", authenticated by SASL PLAIN')
    await service.sendToDevice('device1', { body: 'reboot', messageId: 'command-1', ack: 'full' }, { signal })
    report.step('service', 'sent the command "reboot" to device1, iothub-ack=full: accepted')
    for await (const message of device.messages({ signal })) {
      report.step('device', `received "${text(message.body)}"`)
      await message.complete()
      report.step('device', 'completed it')
      break
    }
    for await (const batch of service.feedback({ signal })) {
      for (const record of batch.records)
        report.step('service', `feedback: ${record.status} for ${record.originalMessageId} on ${record.deviceId}`)
      if (batch.records.some(record => record.status !== 'success')) throw new Error('the command did not succeed')
      await batch.complete()
      break
    }
    await Promise.all([device.close(), service.close()])
    report.summary('1 telemetry message, 1 command, 1 feedback record over TLS')
  } finally {
    await hub.close()
  }
}
