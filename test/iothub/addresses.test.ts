import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { UsageError } from '../../src/errors.ts'
import {
  commandTo,
  deviceAddresses,
  eventHubPartition,
  type HubAddress,
  parseAddress,
  serviceAddresses,
} from '../../src/iothub/addresses.ts'

const device = { deviceId: 'd', moduleId: undefined }
const module = { deviceId: 'd', moduleId: 'm' }

describe('builders', () => {
  it('address a device', () => {
    expect(deviceAddresses('dev1')).toEqual({
      telemetry: '/devices/dev1/messages/events',
      commands: '/devices/dev1/messages/devicebound',
      methods: '/devices/dev1/methods/devicebound',
      twin: '/devices/dev1/twin',
    })
  })

  it('address a module, ids percent-encoded but for $', () => {
    expect(deviceAddresses('a b%', '$edgeAgent').twin).toBe('/devices/a%20b%25/modules/$edgeAgent/twin')
    expect(commandTo('dev 1')).toBe('/devices/dev%201/messages/devicebound')
    expect(commandTo('d', 'm')).toBe('/devices/d/modules/m/messages/devicebound')
  })

  it('address a back end', () => {
    expect(serviceAddresses.telemetry('$Default', '0')).toBe('/messages/events/ConsumerGroups/$Default/Partitions/0')
    expect(eventHubPartition('eh', '$Default', '1')).toBe('eh/ConsumerGroups/$Default/Partitions/1')
  })

  it('refuse empty and ill-formed parts', () => {
    expect(() => deviceAddresses('')).toThrow(UsageError)
    expect(() => deviceAddresses('d', '')).toThrow('module id is empty')
    expect(() => commandTo('\udc00')).toThrow(UsageError)
    expect(() => serviceAddresses.telemetry('', '0')).toThrow('consumer group is empty')
  })

  it('are read back by parseAddress, whatever the ids', () => {
    const id = fc.string({ unit: 'grapheme', minLength: 1 }).filter(text => !text.includes('/'))
    fc.assert(
      fc.property(id, fc.option(id, { nil: undefined }), (deviceId, moduleId) => {
        const built = deviceAddresses(deviceId, moduleId)
        expect(parseAddress(built.telemetry)).toEqual({ kind: 'device-telemetry', deviceId, moduleId })
        expect(parseAddress(built.commands)).toEqual({ kind: 'device-commands', deviceId, moduleId })
        expect(parseAddress(built.methods)).toEqual({ kind: 'device-methods', deviceId, moduleId })
        expect(parseAddress(built.twin)).toEqual({ kind: 'device-twin', deviceId, moduleId })
      }),
    )
  })
})

describe('parseAddress', () => {
  it.each<[string, HubAddress]>([
    ['$cbs', { kind: 'cbs' }],
    ['/$cbs', { kind: 'cbs' }],
    ['amqps://host/$CBS', { kind: 'cbs' }],
    ['/devices/d/messages/events', { kind: 'device-telemetry', ...device }],
    ['devices/d/messages/events/', { kind: 'device-telemetry', ...device }],
    ['amqps://host:5671/devices/d/messages/deviceBound', { kind: 'device-commands', ...device }],
    ['amqps://host/devices/d/messages/devicebound', { kind: 'device-commands', ...device }],
    ['amqps://user@host:5671/DEVICES/d/Methods/deviceBound', { kind: 'device-methods', ...device }],
    ['/devices/d/twin', { kind: 'device-twin', ...device }],
    ['/devices/d/modules/m/messages/events', { kind: 'device-telemetry', ...module }],
    ['/devices/d/Modules/m/messages/deviceBound', { kind: 'device-commands', ...module }],
    ['/devices/d/modules/m/methods/deviceBound', { kind: 'device-methods', ...module }],
    ['/devices/d/modules/m/twin', { kind: 'device-twin', ...module }],
    ['/devices/modules/twin', { kind: 'device-twin', deviceId: 'modules', moduleId: undefined }],
    ['/devices/My%20Dev/twin', { kind: 'device-twin', deviceId: 'My Dev', moduleId: undefined }],
    ['/devices/my dev/twin', { kind: 'device-twin', deviceId: 'my dev', moduleId: undefined }],
    ['/devices/50%/twin', { kind: 'device-twin', deviceId: '50%', moduleId: undefined }],
    ['/messages/devicebound', { kind: 'service-commands' }],
    ['amqps://host/messages/deviceBound', { kind: 'service-commands' }],
    ['/messages/serviceBound/feedback', { kind: 'service-feedback' }],
    ['/messages/servicebound/filenotifications', { kind: 'service-file-notifications' }],
    ['/messages/servicebound/fileuploadnotifications', { kind: 'service-file-notifications' }],
    ['messages/events/', { kind: 'telemetry-root' }],
    ['/messages/events/$management', { kind: 'telemetry-management' }],
    [
      '/messages/events/consumergroups/$Default/partitions/0',
      { kind: 'telemetry-partition', consumerGroup: '$Default', partition: '0' },
    ],
    [
      'amqps://ns:5671/eh/ConsumerGroups/%24Default/Partitions/3',
      { kind: 'event-hub-partition', eventHub: 'eh', consumerGroup: '$Default', partition: '3' },
    ],
    ['$management', { kind: 'event-hub-management', eventHub: undefined }],
    ['amqps://ns:5671/Eh/$management', { kind: 'event-hub-management', eventHub: 'Eh' }],
    ['0ne0000/registrations/reg', { kind: 'provisioning', idScope: '0ne0000', registrationId: 'reg' }],
  ])('%s', (text, expected) => {
    expect(parseAddress(text)).toEqual(expected)
  })

  it.each([
    '',
    '/',
    'amqps://host',
    'amqps://host/',
    '/devices',
    '/devices/d',
    '/devices//twin',
    '//devices/d/twin',
    '/devices/d/twin/x',
    '/devices/d/twins',
    '/devices/a%2Fb/twin',
    '/devices/d/modules/m',
    '/devices/d/constructor',
    '/messages',
    '/constructor',
    '/__proto__',
    '/x/y/ConsumerGroups/g/Partitions/0',
    '/messages/events/ConsumerGroups/g/Partitions',
    '/queue1',
  ])('knows no %j', text => {
    expect(parseAddress(text)).toBeUndefined()
  })

  it('takes any text', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), text => void parseAddress(text)))
  })
})
