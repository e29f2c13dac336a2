/** fairlead/emulator: an IoT Hub in this process, for development and tests. */
/// <reference lib="esnext.disposable" preserve="true" />
/// <reference types="node" preserve="true" />

export type { EmulatorClock } from './emulator/clock.ts'
export type { FeedbackStatus } from './emulator/command-queue.ts'
export type { TelemetryEvent } from './emulator/event-log.ts'
export type { FileUpload } from './emulator/file-notifications.ts'
export {
  type EmulatorListenOptions,
  type EmulatorMessage,
  IotHubEmulator,
  type IotHubEmulatorOptions,
} from './emulator/iot-hub-emulator.ts'
export type { QuotaOptions } from './emulator/quotas.ts'
