/** fairlead/emulator: an IoT Hub in this process, for development and tests. */
/// <reference lib="esnext.disposable" preserve="true" />
/// <reference types="node" preserve="true" />

export type { X509Registration } from './emulator/client-certificate.ts'
export type { EmulatorClock } from './emulator/clock.ts'
export type { FeedbackStatus } from './emulator/command-queue.ts'
export { createDeviceAuthority, type DeviceAuthority, type DeviceCertificate } from './emulator/device-authority.ts'
export type { RecordedTelemetry } from './emulator/event-log.ts'
export type { EmulatorFault, FaultPlace, FaultSide, FaultTimes, StandingFault } from './emulator/faults.ts'
export type { FileUpload } from './emulator/file-notifications.ts'
export type { GatewayVersion } from './emulator/gateway-version.ts'
export type { InvokeMethodOptions, MethodAnswer } from './emulator/invocation.ts'
export {
  type EmulatorHttpsOptions,
  type EmulatorListenOptions,
  type EmulatorMessage,
  type EmulatorWebSocketOptions,
  IotHubEmulator,
  type IotHubEmulatorOptions,
  type SendToDeviceOptions,
} from './emulator/iot-hub-emulator.ts'
export type {
  DeviceEnrolment,
  EmulatorProvisioning,
  EnrolmentOptions,
  GroupEnrolment,
} from './emulator/provisioning-service.ts'
export type { QuotaOptions } from './emulator/quotas.ts'
export type { TwinView, UpdateDesiredOptions } from './emulator/twin-view.ts'
export type { WebSocketServerClass } from './emulator/websocket-listener.ts'
