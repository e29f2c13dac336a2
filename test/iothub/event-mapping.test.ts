import { describe, expect, it } from 'vitest'
import { readEvent } from '../../src/iothub/telemetry/event-mapping.ts'
import { decodeMessage } from '../../src/message/decode.ts'
import { encodeMessage } from '../../src/message/encode.ts'
import type { Message, MessageInit } from '../../src/message/message.ts'
import { long } from '../../src/types/values.ts'

const received = (init: MessageInit): Message => decodeMessage(encodeMessage(init))
const place = { 'x-opt-sequence-number': long(5n), 'x-opt-offset': '40', 'x-opt-enqueued-time': new Date(9) }

describe('readEvent', () => {
  it('needs no more than the place', () => {
    const event = readEvent(received({ messageAnnotations: place, body: Uint8Array.of(1) }), '3')
    expect(event).toMatchObject({
      partition: '3',
      sequenceNumber: 5n,
      offset: '40',
      enqueuedTime: new Date(9),
      deviceId: undefined,
      authentication: undefined,
      position: { partition: '3', offset: '40' },
    })
  })

  it('reads model, component and module; an authentication that is no JSON is left out', () => {
    const annotations = {
      ...place,
      'iothub-connection-module-id': 'm',
      'iothub-connection-auth-method': '{',
      'dt-dataschema': 'dtmi:x;1',
      'dt-subject': 'thermostat',
    }
    expect(readEvent(received({ messageAnnotations: annotations, body: '{}' }), '0')).toMatchObject({
      moduleId: 'm',
      modelId: 'dtmi:x;1',
      component: 'thermostat',
      authentication: undefined,
    })
  })

  it.each<[string, MessageInit]>([
    ['no annotations', { body: 'x' }],
    ['no offset', { messageAnnotations: { ...place, 'x-opt-offset': undefined }, body: 'x' }],
    ['no number', { messageAnnotations: { ...place, 'x-opt-sequence-number': 'five' }, body: 'x' }],
    ['no time', { messageAnnotations: { ...place, 'x-opt-enqueued-time': undefined }, body: 'x' }],
    ['a structured body', { messageAnnotations: place, body: { value: 5 } }],
  ])('gives nothing for %s', (_, init) => {
    expect(readEvent(received(init), '0')).toBeUndefined()
  })
})
