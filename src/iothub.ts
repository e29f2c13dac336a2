/** fairlead/iothub: a device or a back end of Azure IoT Hub, over AMQP. */
/// <reference lib="esnext.disposable" preserve="true" />
/// <reference types="node" preserve="true" />

export type { Closure } from './client/api.ts'
export type { Abortable, WebSocketOptions } from './client/options.ts'
export type { ProxyHook } from './io/proxy.ts'
export type { Transport, TransportSink } from './io/transport.ts'
export type { WebSocketClass, WebSocketLike } from './io/websocket.ts'
export { type ConditionInfo, describeCondition, HubCondition, isRetryable, isThrottling } from './iothub/conditions.ts'
export {
  type ConnectionString,
  type DeviceConnectionString,
  formatConnectionString,
  parseConnectionString,
  type ServiceConnectionString,
} from './iothub/connection-string.ts'
export {
  type CloudToDeviceMessage,
  DeviceClient,
  type DeviceCredentials,
  type DeviceOptions,
} from './iothub/device-client.ts'
export {
  DevicePool,
  type PoolCredentials,
  type PoolDevice,
  type PoolDeviceOptions,
  type PoolOptions,
} from './iothub/device-pool.ts'
export type { TelemetryOptions } from './iothub/event-hub.ts'
export type {
  TelemetryAuthentication,
  TelemetryEvent,
  TelemetryPosition,
  TelemetryStart,
} from './iothub/event-mapping.ts'
export type { FileNotification, FileUploadRecord } from './iothub/file-notifications.ts'
export type { IotHubOptions } from './iothub/hub-options.ts'
export type { SasCredential, TokenRequest } from './iothub/login.ts'
export type { EventHubInfo, PartitionInfo } from './iothub/management.ts'
export type { HubReconnectOptions } from './iothub/mending.ts'
export type { JsonObject } from './iothub/merge-patch.ts'
export type {
  Acknowledgement,
  CloudMessage,
  CommandContent,
  FeedbackRecord,
  FeedbackStatus,
  OutgoingMessage,
  Telemetry,
} from './iothub/message-mapping.ts'
export type { MethodHandler, MethodRegistration, MethodRequest, MethodResponse } from './iothub/methods.ts'
export { type ProvisionedDevice, type ProvisionOptions, provision } from './iothub/provisioning.ts'
export { QueueFullError } from './iothub/queue-full-error.ts'
export {
  createSasToken,
  deriveDeviceKey,
  parseSasToken,
  type SasKeyRule,
  type SasToken,
  type SasTokenInit,
  type SasVerdict,
  type SasVerification,
  verifySasToken,
} from './iothub/sas.ts'
export {
  type CommandTarget,
  type FeedbackBatch,
  ServiceClient,
  type ServiceCredentials,
} from './iothub/service-client.ts'
export type { TokenOptions } from './iothub/token-renewal.ts'
export { type DesiredChange, Twin } from './iothub/twin.ts'
export type { X509Credential } from './iothub/x509.ts'
