import { describe, expect, it } from 'vitest'
import { ProtocolError, UsageError } from '../../src/errors.ts'
import {
  type CloudMessage,
  type CommandContent,
  cloudMessage,
  readCommand,
  readFeedback,
  type Telemetry,
  telemetryMessage,
} from '../../src/iothub/message-mapping.ts'
import { decodeMessage } from '../../src/message/decode.ts'
import { encodeMessage } from '../../src/message/encode.ts'
import type { Body, Message, MessageInit } from '../../src/message/message.ts'
import { Uuid, ubyte, ulong } from '../../src/types/values.ts'

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
const overWire = (init: MessageInit): Message => decodeMessage(encodeMessage(init))
const fromHex = (hex: string): Message => decodeMessage(Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ''), 'hex')))

function commandOf(message: Message): CommandContent {
  const content = readCommand(message)
  if (content === undefined) throw new Error('not a command')
  return content
}

describe('telemetry', () => {
  it('is one data section and nothing else by default', () => {
    expect(telemetryMessage({ body: 'hi' })).toMatchObject({ body: utf8('hi') })
    const message = overWire(telemetryMessage({ body: Uint8Array.of(1, 2) }))
    expect(message.body).toEqual(Uint8Array.of(1, 2))
    expect(message.applicationProperties).toBeUndefined()
    expect(message.messageAnnotations).toBeUndefined()
  })

  it('puts system properties where a hub looks for them', () => {
    const { properties, applicationProperties } = overWire(
      telemetryMessage({
        body: '{}',
        properties: { p: 'v', größe: '1' },
        messageId: 'm1',
        correlationId: 'corr',
        userId: 'me',
        contentType: 'application/json',
        contentEncoding: 'utf-8',
        creationTime: new Date('2021-04-21T11:30:16.250Z'),
        expiry: new Date('2030-01-01T00:00:00Z'),
      }),
    )
    expect(properties).toMatchObject({
      messageId: 'm1',
      correlationId: 'corr',
      userId: utf8('me'),
      contentType: 'application/json',
      contentEncoding: 'utf-8',
      absoluteExpiryTime: new Date('2030-01-01T00:00:00Z'),
    })
    expect(properties?.to).toBeUndefined()
    expect([...(applicationProperties ?? [])]).toEqual([
      ['p', 'v'],
      ['größe', '1'],
      ['iothub-creation-time-utc', '2021-04-21T11:30:16.250Z'],
    ])
  })

  it.each<[string, Partial<Telemetry>]>([
    ['a system property by its wire name', { properties: { 'iothub-creation-time-utc': 'x' } }],
    ['an acknowledgement by its wire name', { properties: { 'iothub-ack': 'full' } }],
    ['a value that is no string', { properties: { n: 1 as unknown as string } }],
    ['a name that is no string', { properties: new Map([[1, 'v']]) as unknown as ReadonlyMap<string, string> }],
    ['a list of properties', { properties: [['p', 'v']] as unknown as Record<string, string> }],
    ['properties that are a text', { properties: 'p=v' as unknown as Record<string, string> }],
    ['no properties by null', { properties: null as unknown as Record<string, string> }],
    ['a time that is a text', { expiry: '2020-01-01' as unknown as Date }],
    ['a creation time that is no date', { creationTime: new Date(Number.NaN) }],
    ['an expiry that is no date', { expiry: new Date(Number.NaN) }],
  ])('refuses %s', (_, part) => {
    expect(() => telemetryMessage({ body: '', ...part })).toThrow(UsageError)
  })

  it('takes a map, such as messages are received with, and leaves out what is undefined', () => {
    const sent = (properties: Telemetry['properties']): unknown[] => [
      ...(overWire(telemetryMessage({ body: '', properties })).applicationProperties ?? []),
    ]
    expect(sent(new Map([['p', 'v']]))).toEqual([['p', 'v']])
    expect(sent({ p: 'v', q: undefined })).toEqual([['p', 'v']])
    expect(sent(new Map())).toEqual([])
  })

  it('takes property names that objects inherit', () => {
    const properties = JSON.parse('{"__proto__":"a","constructor":"b"}')
    const { applicationProperties } = overWire(telemetryMessage({ body: '', properties }))
    expect([...(applicationProperties ?? [])]).toEqual([
      ['__proto__', 'a'],
      ['constructor', 'b'],
    ])
  })
})

describe('messages to devices', () => {
  it('name their device in to, encoded, and what feedback is wanted', () => {
    const message = overWire(
      cloudMessage('my dev/1', { body: 'cmd', messageId: 'abc', ack: 'full', properties: { p: 'v' } }),
    )
    expect(message.properties).toMatchObject({ messageId: 'abc', to: '/devices/my%20dev%2F1/messages/devicebound' })
    expect([...(message.applicationProperties ?? [])]).toEqual([
      ['p', 'v'],
      ['iothub-ack', 'full'],
    ])
    expect(message.body).toEqual(utf8('cmd'))
  })

  it.each<[string, Partial<CloudMessage>]>([
    ['feedback without an id to name the message by', { ack: 'positive' }],
    ['an unknown acknowledgement', { ack: 'maybe' as 'full', messageId: 'm' }],
  ])('refuse %s', (_, part) => {
    expect(() => cloudMessage('d', { body: '', ...part })).toThrow(UsageError)
  })

  it('need no id without feedback', () => {
    expect(overWire(cloudMessage('d', { body: '', ack: 'none' })).applicationProperties?.get('iothub-ack')).toBe('none')
  })
})

describe('reading a message to a device', () => {
  it('has everything that a hub may say', () => {
    const content = commandOf(
      overWire({
        messageAnnotations: {
          'iothub-enqueuedtime': new Date(1000),
          'x-opt-sequence-number': ulong(7n),
          'iothub-deliverycount': ubyte(3),
          'x-opt-lock-token': 'x',
        },
        properties: {
          messageId: 'm',
          correlationId: Uuid.parse('3f2504e0-4f89-41d3-9a0c-0305e82c3301'),
          userId: utf8('hub'),
          to: '/devices/d/messages/devicebound',
          contentType: 'text/plain',
          contentEncoding: 'utf-8',
          absoluteExpiryTime: new Date(2000),
        },
        applicationProperties: {
          a: 'b',
          n: 1,
          'iothub-ack': 'negative',
          'iothub-creation-time-utc': '2021-04-21T11:30:16',
        },
        body: { data: [utf8('one'), utf8('two')] },
      }),
    )
    expect(content).toEqual({
      body: utf8('onetwo'),
      properties: new Map([['a', 'b']]),
      messageId: 'm',
      correlationId: '3f2504e0-4f89-41d3-9a0c-0305e82c3301',
      userId: 'hub',
      to: '/devices/d/messages/devicebound',
      contentType: 'text/plain',
      contentEncoding: 'utf-8',
      creationTime: new Date('2021-04-21T11:30:16Z'),
      expiry: new Date(2000),
      ack: 'negative',
      enqueuedTime: new Date(1000),
      sequenceNumber: 7n,
      deliveryCount: 3,
    })
  })

  it('needs nothing but a body', () => {
    const { body, properties, ...rest } = commandOf(overWire({ body: utf8('x') }))
    expect(body).toEqual(utf8('x'))
    expect(properties.size).toBe(0)
    expect(Object.values(rest).every(value => value === undefined)).toBe(true)
  })

  it.each<[string, Body, string | undefined]>([
    ['text', 'text', 'text'],
    ['binary in a value', { value: utf8('bin') }, 'bin'],
    ['nothing', new Uint8Array(), ''],
    ['a structured value', { value: 5 }, undefined],
    ['a sequence', { sequence: [[1]] }, undefined],
  ])('of a body of %s', (_, body, expected) => {
    const content = readCommand(overWire({ body }))
    expect(content && new TextDecoder().decode(content.body)).toBe(expected)
  })

  it('makes text of ids of any type', () => {
    expect(commandOf(overWire({ properties: { messageId: 12n }, body: '' })).messageId).toBe('12')
    expect(commandOf(overWire({ properties: { messageId: utf8('bin') }, body: '' })).messageId).toBe('bin')
  })

  it('understands what the Node service SDK sends', () => {
    const content = commandOf(
      fromHex(
        `00537045005373d00000003f00000009a10361626340a1252f646576696365732f646576253230312f6d657373616765732f646576696365
         626f756e64404040404083000001a20566518c005374d10000001600000002a10a696f746875622d61636ba10466756c6c005375a003636d64`,
      ),
    )
    expect(content).toMatchObject({
      messageId: 'abc',
      to: '/devices/dev%201/messages/devicebound',
      ack: 'full',
      body: utf8('cmd'),
      expiry: new Date(0x1a20566518c),
    })
  })

  it('understands what uamqp sends', () => {
    const content = commandOf(
      fromHex(
        `005373c02b03a10369643140a1222f646576696365732f646576312f6d657373616765732f646576696365626f756e64005374c11302a10a
         696f746875622d61636ba10466756c6c005375a00568656c6c6f`,
      ),
    )
    expect(content).toMatchObject({ messageId: 'id1', ack: 'full', body: utf8('hello') })
  })
})

describe('reading feedback', () => {
  const record = {
    originalMessageId: 'm1',
    enqueuedTimeUtc: '2015-07-28T16:24:48.789Z',
    statusCode: 'DeliveryCountExceeded',
    description: 'DeliveryCountExceeded',
    deviceId: 'd',
    deviceGenerationId: '635742',
  }
  const batch = (body: unknown): Message => overWire({ body: utf8(JSON.stringify(body)) })

  it('has a record for each object', () => {
    expect(readFeedback(batch([record, { ...record, statusCode: 'success' }]))).toMatchObject([
      {
        deviceId: 'd',
        originalMessageId: 'm1',
        status: 'deliveryCountExceeded',
        description: 'DeliveryCountExceeded',
        enqueuedTime: new Date('2015-07-28T16:24:48.789Z'),
        deviceGenerationId: '635742',
      },
      { status: 'success' },
    ])
    expect(readFeedback(batch([]))).toEqual([])
  })

  it('goes by the description where the code says nothing', () => {
    const { statusCode: _, ...rest } = record
    expect(readFeedback(batch([{ ...rest, description: 'Purged' }]))).toMatchObject([{ status: 'purged' }])
  })

  it.each<[string, Message]>([
    ['an object', batch(record)],
    ['an array of other things', batch([1])],
    ['an unknown status', batch([{ ...record, statusCode: 'Lost', description: 'Lost' }])],
    ['no time', batch([{ ...record, enqueuedTimeUtc: 'soon' }])],
    ['no JSON', overWire({ body: utf8('{') })],
    ['no bytes', overWire({ body: { value: 1 } })],
  ])('refuses %s', (_, message) => {
    expect(() => readFeedback(message)).toThrow(ProtocolError)
  })
})
