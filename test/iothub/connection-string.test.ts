import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { UsageError } from '../../src/errors.ts'
import {
  type ConnectionString,
  formatConnectionString,
  parseConnectionString,
} from '../../src/iothub/credentials/connection-string.ts'

const key = 'MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY='

describe('parseConnectionString', () => {
  it('reads a device string, splitting each pair at its first =', () => {
    expect(parseConnectionString(`HostName=hub.azure-devices.net;DeviceId=dev1;SharedAccessKey=${key}`)).toEqual({
      kind: 'device',
      hostName: 'hub.azure-devices.net',
      deviceId: 'dev1',
      sharedAccessKey: key,
      x509: false,
    })
  })

  it('reads a module behind a gateway, with ports', () => {
    const text = `HostName=localhost:15671;DeviceId=d;ModuleId=$edgeAgent;SharedAccessKey=${key};GatewayHostName=gw:443`
    expect(parseConnectionString(text)).toMatchObject({
      hostName: 'localhost',
      port: 15671,
      moduleId: '$edgeAgent',
      gatewayHostName: 'gw',
      gatewayPort: 443,
    })
  })

  it('reads a ready-made signature and x509=true', () => {
    const token = 'SharedAccessSignature sr=h%2Fdevices%2Fd&sig=a%3D&se=1'
    expect(parseConnectionString(`HostName=h;DeviceId=d;SharedAccessSignature=${token}`)).toMatchObject({
      sharedAccessSignature: token,
      sharedAccessKey: undefined,
    })
    expect(parseConnectionString('HostName=h;DeviceId=d;x509=true')).toMatchObject({ x509: true })
  })

  it('reads a service string, and a device string under a policy', () => {
    expect(parseConnectionString(`HostName=h;SharedAccessKeyName=service;SharedAccessKey=${key}`)).toEqual({
      kind: 'service',
      hostName: 'h',
      keyName: 'service',
      sharedAccessKey: key,
    })
    expect(
      parseConnectionString(`HostName=h;DeviceId=d;SharedAccessKeyName=device;SharedAccessKey=${key}`),
    ).toMatchObject({ kind: 'device', keyName: 'device' })
  })

  it('passes over unknown names, empty values, empty parts and blanks around pairs', () => {
    const text = ` HostName = h ;;Colour=red;Colour=blue;ModuleId=;=x;DeviceId=d;SharedAccessKey=${key};\n`
    expect(parseConnectionString(text)).toMatchObject({ hostName: 'h', deviceId: 'd', moduleId: undefined })
  })

  it('reads an IPv6 host in brackets', () => {
    expect(parseConnectionString('HostName=[::1]:5671;DeviceId=d;x509=true')).toMatchObject({
      hostName: '::1',
      port: 5671,
    })
  })

  it.each([
    ['', 'HostName is missing'],
    [`DeviceId=d;SharedAccessKey=${key}`, 'HostName is missing'],
    [
      `hostname=h;DeviceId=d;SharedAccessKey=${key};Transport=amqp`,
      'HostName is missing; names that mean nothing: "hostname", "Transport"',
    ],
    [`HostName=h;DeviceId=d;SharedAcessKey=${key}`, '"SharedAcessKey"'],
    [`HostName=h;SharedAccessKeyname=p;SharedAccessKey=${key}`, '"SharedAccessKeyname"'],
    [`HostName=h;DeviceId=d;${key}`, 'mean nothing: that of part 3'],
    [`HostName=h;DeviceId=d;SharedAccessKey:${key}`, 'mean nothing: that of part 3'],
    [
      `"HostName=h;DeviceId=d;SharedAccessKey=${key}"`,
      'HostName is missing; names that mean nothing: "\\"HostName"; quotes',
    ],
    [`'HostName=h;DeviceId=d;SharedAccessKey=${key}'`, 'quotes around it are no part of it'],
    ['HostName=h;DeviceId=d', 'SharedAccessKey, SharedAccessSignature or x509=true is missing'],
    ['HostName=h;DeviceId=d;x509=false', 'SharedAccessKey, SharedAccessSignature or x509=true is missing'],
    ['HostName=h;SharedAccessKeyName=p', 'SharedAccessKey or SharedAccessSignature is missing'],
    [`HostName=h;SharedAccessKey=${key}`, 'DeviceId (for a device) or SharedAccessKeyName (for a service) is missing'],
    [`HostName=h;ModuleId=m;SharedAccessKey=${key}`, 'DeviceId (beside ModuleId) is missing'],
    [`HostName=h;DeviceId=d;SharedAccessKey=${key};SharedAccessKey=${key}`, 'SharedAccessKey is given twice'],
    [`HostName=h;DeviceId=d;SharedAccessKey=${key};SharedAccessSignature=s`, 'exclude each other'],
    [`HostName=h;DeviceId=d;x509=true;SharedAccessKey=${key}`, 'x509=true excludes'],
    ['HostName=h;DeviceId=d;x509=perhaps', 'x509 must be true or false'],
    [`HostName=h;${key.slice(0, 20)};DeviceId=d`, 'part 2 is not name=value'],
    [`HostName=https://h;DeviceId=d;SharedAccessKey=${key}`, 'HostName must be a host name'],
    [`HostName=h:0;DeviceId=d;SharedAccessKey=${key}`, 'the port of HostName must be 1 … 65535'],
    ['HostName=h;DeviceId=d;x509=true;GatewayHostName=g:70000', 'the port of GatewayHostName must be 1 … 65535'],
  ])('refuses %j, naming the part and quoting no secret', (text, message) => {
    const error = thrown(() => parseConnectionString(text))
    expect(error).toBeInstanceOf(UsageError)
    expect(error.message).toContain(message)
    expect(error.message).not.toContain(key.slice(0, 20))
  })
})

describe('formatConnectionString', () => {
  it('prints what the portal prints', () => {
    expect(formatConnectionString({ kind: 'service', hostName: 'h', keyName: 'service', sharedAccessKey: key })).toBe(
      `HostName=h;SharedAccessKeyName=service;SharedAccessKey=${key}`,
    )
  })

  it('parses back to the same fields', () => {
    const id = fc.stringMatching(/^[A-Za-z0-9\-.%_*?!(),:=@$']{1,20}$/)
    const host = fc.constantFrom('hub.azure-devices.net', 'localhost', '::1')
    const port = fc.option(fc.integer({ min: 1, max: 65_535 }), { nil: undefined })
    const maybe = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(value, { nil: undefined })
    const secret = fc.constantFrom<{ sharedAccessKey?: string; sharedAccessSignature?: string; x509: boolean }>(
      { sharedAccessKey: key, x509: false },
      { sharedAccessSignature: 'SharedAccessSignature sr=h&sig=a%3D&se=1', x509: false },
      { x509: true },
    )
    const gateway = fc.oneof(fc.constant({}), fc.record({ gatewayHostName: host, gatewayPort: port }))
    const device = fc
      .tuple(
        fc.record({ hostName: host, port, deviceId: id, moduleId: maybe(id), keyName: maybe(id) }),
        secret,
        gateway,
      )
      .map(([base, credential, rest]): ConnectionString => ({ kind: 'device', ...base, ...credential, ...rest }))
    fc.assert(
      fc.property(device, fields => {
        expect(parseConnectionString(formatConnectionString(fields))).toEqual(fields)
      }),
    )
  })

  it.each<[string, Partial<ConnectionString>]>([
    ['a semicolon', { deviceId: 'a;b' }],
    ['an empty id', { deviceId: '' }],
    ['a blank at the end', { deviceId: 'a ' }],
    ['a host with a path', { hostName: 'h/x' }],
    ['a host with a backslash', { hostName: 'h\\x' }],
    ['a host with a NUL', { hostName: 'h\0.example' }],
    ['no credential', { sharedAccessKey: undefined }],
    ['two credentials', { sharedAccessSignature: 's' }],
  ])('refuses %s', (_, change) => {
    const fields = { kind: 'device', hostName: 'h', deviceId: 'd', sharedAccessKey: key, x509: false, ...change }
    const error = thrown(() => formatConnectionString(fields as ConnectionString))
    expect(error).toBeInstanceOf(UsageError)
    expect(error.message).not.toContain(key)
  })
})

function thrown(run: () => unknown): Error {
  try {
    run()
  } catch (error) {
    if (error instanceof Error) return error
  }
  throw new Error('nothing was thrown')
}
