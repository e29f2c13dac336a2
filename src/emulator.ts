/** fairlead/emulator: an IoT Hub in this process, for development and tests. */
/// <reference lib="esnext.disposable" preserve="true" />
/// <reference types="node" preserve="true" />

export type { X509Registration } from './emulator/certificates/client-certificate.ts'
export {
  createDeviceAuthority,
  type DeviceAuthority,
  type DeviceCertificate,
} from './emulator/certificates/device-authority.ts'
export type { EmulatorClock } from './emulator/clock.ts'
export type { FeedbackStatus } from './emulator/command-queue.ts'
export type { EmulatorFault, FaultPlace, FaultSide, FaultTimes, StandingFault } from './emulator/faults/faults.ts'
export type { FileUpload } from './emulator/file-notifications.ts'
export type { GatewayVersion } from './emulator/gateway-version.ts'
export type { InvokeMethodOptions, MethodAnswer } from './emulator/invocation.ts'
export { type EmulatorMessage, IotHubEmulator, type SendToDeviceOptions } from './emulator/iot-hub-emulator.ts'
export type { WebSocketServerClass } from './emulator/listening/websocket-listener.ts'
export type {
  EmulatorHttpsOptions,
  EmulatorListenOptions,
  EmulatorWebSocketOptions,
  IotHubEmulatorOptions,
} from './emulator/options.ts'
export type {
  DeviceEnrolment,
  EmulatorProvisioning,
  EnrolmentOptions,
  GroupEnrolment,
} from './emulator/provisioning/provisioning-service.ts'
export type { QuotaOptions } from './emulator/quotas.ts'
export type { DeviceState, EmulatorState, EnrolmentState } from './emulator/state.ts'
export type { RecordedTelemetry } from './emulator/telemetry/event-log.ts'
export type { TwinView, UpdateDesiredOptions } from './emulator/twins/twin-view.ts'
