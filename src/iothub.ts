/** fairlead/iothub: a device or a back end of Azure IoT Hub, over AMQP. */
/// <reference lib="esnext.disposable" preserve="true" />
/// <reference types="node" preserve="true" />

export type { Closure } from './client/api.ts'
export type { Abortable, WebSocketOptions } from './client/options.ts'
export type { ProxyHook } from './io/proxy.ts'
export type { Transport, TransportSink } from './io/transport.ts'
export type { WebSocketClass, WebSocketLike } from './io/websocket.ts'
export {
  type ConditionInfo,
  describeCondition,
  HubCondition,
  isRetryable,
  isThrottling,
} from './iothub/connection/conditions.ts'
export type { IotHubOptions } from './iothub/connection/hub-options.ts'
export type { HubReconnectOptions } from './iothub/connection/mending.ts'
export { QueueFullError } from './iothub/connection/queue-full-error.ts'
export {
  type ConnectionString,
  type DeviceConnectionString,
  formatConnectionString,
  parseConnectionString,
  type ServiceConnectionString,
} from './iothub/credentials/connection-string.ts'
export type { SasCredential, TokenRequest } from './iothub/credentials/login.ts'
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
} from './iothub/credentials/sas.ts'
export type { TokenOptions } from './iothub/credentials/token-renewal.ts'
export type { X509Credential } from './iothub/credentials/x509.ts'
export {
  type CloudToDeviceMessage,
  DeviceClient,
  type DeviceCredentials,
  type DeviceOptions,
} from './iothub/device-client.ts'
export type { FileNotification, FileUploadRecord } from './iothub/file-notifications.ts'
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
export {
  DevicePool,
  type PoolCredentials,
  type PoolDevice,
  type PoolDeviceOptions,
  type PoolOptions,
} from './iothub/pool/device-pool.ts'
export { type ProvisionedDevice, type ProvisionOptions, provision } from './iothub/provisioning/provisioning.ts'
export {
  type CommandTarget,
  type FeedbackBatch,
  ServiceClient,
  type ServiceCredentials,
} from './iothub/service-client.ts'
export type {
  TelemetryAuthentication,
  TelemetryEvent,
  TelemetryPlace,
  TelemetryPosition,
  TelemetryStart,
} from './iothub/telemetry/event-mapping.ts'
export type { EventHubInfo, PartitionInfo } from './iothub/telemetry/management.ts'
export type { TelemetryOptions } from './iothub/telemetry/telemetry-options.ts'
export type { JsonObject } from './iothub/twins/merge-patch.ts'
export { type DesiredChange, Twin } from './iothub/twins/twin.ts'
