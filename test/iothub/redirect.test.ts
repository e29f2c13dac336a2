/** What a hub may make of a link that reads telemetry, as scripted hubs do it. */

import { afterEach, describe, expect, it } from 'vitest'
import type { IncomingLink, Sender, Session } from '../../src/client/api.ts'
import { saslServer } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import { TransportError } from '../../src/errors.ts'
import { memoryPair } from '../../src/io/memory.ts'
import type { Transport } from '../../src/io/transport.ts'
import { ServiceClient } from '../../src/iothub/service-client.ts'
import { type AmqpValue, array, int, symbol } from '../../src/types/values.ts'

const opened: AsyncDisposable[] = []

afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource[Symbol.asyncDispose]()
})

function kept<T extends AsyncDisposable>(resource: T): T {
  opened.push(resource)
  return resource
}

const info = {
  hostname: 'events.example',
  'network-host': 'events.example',
  port: int(5671),
  address: 'amqps://events.example:5671/iothub-ehub-localhost/$management',
}
const redirect = { condition: 'amqp:link:redirect', info }

/** A service whose hub does with links what the test says; the event hub is the emulator's. */
async function scripted(
  onLink: (link: IncomingLink) => unknown,
  onEventHubLink?: (link: IncomingLink) => unknown,
): Promise<{ service: ServiceClient; seen: string[] }> {
  const emulator = kept(await IotHubEmulator.start({ listen: 'memory', eventHubHostName: 'events.example' }))
  const key = /SharedAccessKey=([^;]+)/.exec(emulator.connectionString({ service: true }))?.[1] ?? ''
  const listener = kept(await listen({ sasl: [saslServer.plain(() => true), saslServer.anonymous()], port: null }))
  const seen: string[] = []
  const serve = (take: (link: IncomingLink) => unknown): Transport => {
    const [ours, theirs] = memoryPair()
    void listener.accept(theirs).then(connection => {
      connection.on('session', async incoming => {
        const session = await incoming.accept()
        session.on('link', take)
      })
    })
    return ours
  }
  const onHubLink = (link: IncomingLink): unknown => {
    seen.push(link.source?.address ?? '')
    return onLink(link)
  }
  const transport = (host: string): Transport => {
    if (host === 'localhost') return serve(onHubLink)
    return onEventHubLink ? serve(onEventHubLink) : emulator.transport()
  }
  const credentials = { hostName: 'localhost', keyName: 'service', sas: { key } }
  return { service: kept(await ServiceClient.connect(credentials, { auth: 'plain', transport })), seen }
}

describe('a hub that redirects', () => {
  it.each<[string, (link: IncomingLink) => unknown]>([
    ['by refusing the link', link => link.refuse(redirect)],
    [
      'by an attach with neither terminus and a detach',
      async link => {
        if (link.remoteRole !== 'receiver') return
        await (await link.accept({ reply: { source: null, target: null } })).close({ error: redirect })
      },
    ],
    [
      'by a detach some time after a full attach',
      async link => {
        if (link.remoteRole !== 'receiver') return
        const sender = await link.accept()
        setTimeout(() => void sender.close({ error: redirect }), 20)
      },
    ],
  ])('%s is followed', async (_, onLink) => {
    const { service } = await scripted(onLink)
    expect((await service.eventHub()).name).toBe('iothub-ehub-localhost')
  })

  it('is asked once, by the address that is wanted first', async () => {
    const { service, seen } = await scripted(link => link.refuse(redirect))
    const reading = service.telemetry({ partition: '2', consumerGroup: '$Default' }).next()
    await Promise.all([service.eventHub(), service.partitions()])
    expect(seen).toEqual(['/messages/events/ConsumerGroups/$Default/Partitions/2'])
    await service.close()
    expect(await reading).toEqual({ done: true, value: undefined })
    await expect(service.eventHub()).rejects.toMatchObject({ code: 'ERR_AMQP_CLOSED' })
  })

  it.each<[string, Record<string, unknown>]>([
    ['nowhere', { 'network-host': undefined, hostname: undefined, address: undefined }],
    ['to no host', { 'network-host': undefined, hostname: undefined }],
    ['to no event hub', { address: 'amqps://events.example:5671/' }],
    ['to a port that is none', { port: int(-1) }],
    ['to a host with a path', { 'network-host': 'real.example/x' }],
    ['to a host with a user', { 'network-host': 'real.example@events.example' }],
    ['to a host with a backslash', { 'network-host': 'events.example\\real.example' }],
    ['to a host of two lines', { 'network-host': 'events.example\r\nHost: real.example' }],
    ['to a host with a NUL', { 'network-host': 'events.example\0.real.example' }],
    ['to a host with a port', { 'network-host': 'events.example:1' }],
  ])('%s is a ProtocolError', async (_, change) => {
    const changed = Object.fromEntries(
      Object.entries({ ...info, ...change }).filter(([, value]) => value !== undefined),
    )
    const { service } = await scripted(link =>
      link.refuse({ condition: 'amqp:link:redirect', info: changed as typeof info }),
    )
    await expect(service.eventHub()).rejects.toMatchObject({ code: 'ERR_AMQP_PROTOCOL' })
  })
})

describe('an event hub out of reach', () => {
  /** A service whose hub redirects to where this leads. */
  async function leading(there: () => Transport): Promise<ServiceClient> {
    const hub = kept(await IotHubEmulator.start({ listen: 'memory', eventHubHostName: 'events.example' }))
    const transport = (host: string): Transport => (host === 'localhost' ? hub.transport() : there())
    return kept(await ServiceClient.connect(hub.connectionString({ service: true }), { transport }))
  }

  it.each(['ECONNREFUSED', 'SELF_SIGNED_CERT_IN_CHAIN'])('says so the first time: %s', async code => {
    let dialled = 0
    const service = await leading(() => {
      dialled++
      throw new TransportError('cannot connect', Object.assign(new Error('why'), { code }))
    })
    await expect(service.telemetry().next()).rejects.toMatchObject({ code: 'ERR_AMQP_TRANSPORT' })
    await expect(service.telemetry({ partition: '0' }).next()).rejects.toMatchObject({ code: 'ERR_AMQP_TRANSPORT' })
    expect(dialled).toBe(2)
  })

  it('that was reached once is dialled again, but not when its certificate is trusted no more', async () => {
    let code = ''
    let dialled = 0
    const hub = kept(await IotHubEmulator.start({ listen: 'memory', eventHubHostName: 'events.example' }))
    const cut: Transport[] = []
    const transport = (host: string): Transport => {
      if (host !== 'localhost') dialled++
      if (host === 'localhost' || code === '') return cut[cut.push(hub.transport()) - 1] as Transport
      if (dialled > 4) code = 'CERT_HAS_EXPIRED'
      throw new TransportError('cannot connect', Object.assign(new Error('why'), { code }))
    }
    const options = { transport, reconnect: { initialMs: 1, maxMs: 2 } }
    const service = kept(await ServiceClient.connect(hub.connectionString({ service: true }), options))
    const reading = service.telemetry({ partition: '0' }).next()
    await service.eventHub()
    code = 'ECONNREFUSED'
    for (const line of cut) line.destroy()
    await expect(reading).rejects.toMatchObject({ code: 'ERR_AMQP_TRANSPORT', cause: { code: 'CERT_HAS_EXPIRED' } })
    expect(dialled).toBe(5)
  })

  it('that does not answer holds up no close', async () => {
    let dialled = 0
    const service = await leading(() => {
      dialled++
      return memoryPair()[0]
    })
    const reading = service.telemetry().next()
    const asking = service.eventHub().catch(error => error)
    while (dialled === 0) await new Promise(setImmediate)
    const began = performance.now()
    await service.close()
    expect(await reading).toEqual({ done: true, value: undefined })
    expect(await asking).toMatchObject({ code: 'ERR_AMQP_CLOSED' })
    expect(performance.now() - began).toBeLessThan(3000)
  })
})

it('an event hub that does not send settled has its events accepted', async () => {
  const outcomes: string[] = []
  let answers: Sender | undefined
  const { service } = await scripted(
    link => link.refuse(redirect),
    async link => {
      if (link.remoteRole === 'sender') {
        for await (const request of await link.accept()) {
          await request.accept()
          const correlationId = request.message.properties?.messageId
          await answers?.send({ properties: { correlationId }, applicationProperties: { 'status-code': int(200) } })
        }
      } else if (link.source?.address === '$cbs') {
        answers = await link.accept()
      } else {
        const sender = await link.accept({ settle: 'unsettled' })
        for (const [i, offset] of ['0', undefined, '9'].entries()) {
          const place = {
            'x-opt-sequence-number': BigInt(i),
            'x-opt-offset': offset,
            'x-opt-enqueued-time': new Date(),
          }
          sender.send({ messageAnnotations: place, body: 'x' }).then(({ outcome }) => outcomes.push(outcome))
        }
      }
    },
  )
  const offsets: string[] = []
  for await (const { offset } of service.telemetry({ partition: '0' })) if (offsets.push(offset) === 2) break
  // What has no place is passed over.
  expect(offsets).toEqual(['0', '9'])
  await service.close()
  expect(outcomes).toEqual(['accepted', 'accepted', 'accepted'])
})

describe('what $management answers', () => {
  const hub = { name: 'eh', created_at: new Date(5), partition_ids: array('string', ['0', '1']) }
  const partition = {
    partition: '0',
    begin_sequence_number: 0n,
    last_enqueued_sequence_number: -1n,
    last_enqueued_offset: '-1',
  }

  /** A service whose event hub answers requests of each type so. */
  async function answering(
    answers: Record<string, { status?: unknown; condition?: unknown; description?: string; value?: unknown }>,
  ): Promise<ServiceClient> {
    const links = new Map<Session, Sender>()
    const { service } = await scripted(
      link => link.refuse(redirect),
      async link => {
        if (link.remoteRole === 'receiver') {
          links.set(link.session, await link.accept())
          return
        }
        for await (const request of await link.accept()) {
          await request.accept()
          const { properties, applicationProperties: asked } = request.message
          const { status = int(200), condition, description, value } = answers[String(asked?.get('type'))] ?? {}
          await links.get(link.session)?.send({
            properties: { correlationId: properties?.messageId },
            applicationProperties: {
              'status-code': status as AmqpValue,
              'status-description': description,
              'error-condition': condition as AmqpValue,
            },
            body: value === undefined ? '' : { value: value as AmqpValue },
          })
        }
      },
    )
    return service
  }

  const toMap = (record: Record<string, unknown>): ReadonlyMap<string, unknown> =>
    new Map(Object.entries(record).filter(([, value]) => value !== undefined))

  it('may lack a time, have a list for an array, and an int for a long', async () => {
    const service = await answering({
      'com.microsoft:eventhub': { value: toMap({ ...hub, created_at: undefined, partition_ids: ['0'] }) },
      'com.microsoft:partition': {
        status: 202n,
        value: toMap({ ...partition, begin_sequence_number: int(3), last_enqueued_sequence_number: int(4) }),
      },
    })
    expect(await service.eventHub()).toEqual({ name: 'eh', createdAt: new Date(0), partitions: ['0'] })
    expect(await service.partitions()).toEqual([
      {
        partition: '0',
        beginSequenceNumber: 3n,
        lastSequenceNumber: 4n,
        lastOffset: '-1',
        lastEnqueuedTime: new Date(0),
        isEmpty: false,
      },
    ])
  })

  it.each<[string, { status?: unknown; value?: unknown }]>([
    ['no map', {}],
    ['a list', { value: [1] }],
    ['no partitions', { value: toMap({ ...hub, partition_ids: undefined }) }],
    ['partitions that are none', { value: toMap({ ...hub, partition_ids: 'all' }) }],
    ['no name', { value: toMap({ ...hub, name: undefined }) }],
    ['no status', { status: 'fine', value: toMap(hub) }],
  ])('with %s is a ProtocolError', async (_, answer) => {
    const service = await answering({ 'com.microsoft:eventhub': answer })
    await expect(service.eventHub()).rejects.toMatchObject({ code: 'ERR_AMQP_PROTOCOL' })
  })

  it.each(['partition', 'begin_sequence_number', 'last_enqueued_offset'])(
    'of a partition without %s is a ProtocolError',
    async field => {
      const service = await answering({
        'com.microsoft:eventhub': { value: toMap(hub) },
        'com.microsoft:partition': { value: toMap({ ...partition, [field]: undefined }) },
      })
      await expect(service.partitions()).rejects.toMatchObject({ code: 'ERR_AMQP_PROTOCOL' })
    },
  )

  it.each<[number, unknown, string]>([
    [401, undefined, 'amqp:unauthorized-access'],
    [404, undefined, 'amqp:not-found'],
    [500, undefined, 'amqp:internal-error'],
    [500, symbol('com.microsoft:server-busy'), 'com.microsoft:server-busy'],
    [500, 'com.microsoft:timeout', 'com.microsoft:timeout'],
  ])('with status %s and condition %s is the RemoteError %s', async (status, condition, expected) => {
    const service = await answering({
      'com.microsoft:eventhub': { status: int(status), condition, description: 'because' },
    })
    await expect(service.eventHub()).rejects.toMatchObject({
      code: 'ERR_AMQP_REMOTE',
      condition: expected,
      description: 'because',
    })
  })
})

it('a hub that refuses is asked again the next time, and the error says why', async () => {
  const { service, seen } = await scripted(link => link.refuse({ condition: 'amqp:unauthorized-access' }))
  for (let i = 0; i < 2; i++)
    await expect(service.eventHub()).rejects.toMatchObject({
      code: 'ERR_AMQP_REMOTE',
      condition: 'amqp:unauthorized-access',
    })
  // The first once more, in case the token is to blame.
  expect(seen).toEqual(Array(3).fill('/messages/events/$management'))
})

it('a hub that closes the link without a word is a ProtocolError', async () => {
  const { service } = await scripted(async link => {
    if (link.remoteRole === 'receiver') await (await link.accept()).close()
  })
  await expect(service.eventHub()).rejects.toMatchObject({ code: 'ERR_AMQP_PROTOCOL' })
})
