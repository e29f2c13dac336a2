/** What goes over the wire from an emulated hub, frame by frame, where Microsoft's clients depend on it. */

import { afterEach, expect, it } from 'vitest'
import { CbsSession } from '../../src/cbs/cbs-session.ts'
import type { Connection, Session } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import type { ConnectOptions } from '../../src/client/options.ts'
import type { Attach, Begin, Detach, Disposition, Flow, Transfer } from '../../src/definitions/performatives.ts'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import { pause } from '../waiting.ts'
import { tokenOf } from './raw-client.ts'

const opened: AsyncDisposable[] = []
afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource[Symbol.asyncDispose]()
})

interface Frames {
  begin: Begin
  attach: Attach
  flow: Flow
  transfer: Transfer
  disposition: Disposition
  detach: Detach
}

/** A connection as device `d1`, and what has come on it. */
async function watched(options: Partial<ConnectOptions> = {}): Promise<{
  hub: IotHubEmulator
  connection: Connection
  session: Session
  frames: { readonly type: string }[]
  all<K extends keyof Frames>(type: K): Frames[K][]
}> {
  const hub = await IotHubEmulator.start({ listen: 'memory', devices: ['d1', 'd2'] })
  opened.push(hub)
  const frames: { readonly type: string }[] = []
  const connection = await connect({
    ...{ host: 'localhost', transport: hub.transport(), sasl: false, ...options },
    trace: ({ direction, layer, body }) => {
      if (direction === 'in' && layer === 'amqp')
        frames.push((body as { type: string } | undefined) ?? { type: 'empty' })
    },
  })
  opened.push(connection)
  const cbs = await CbsSession.attach(connection)
  const expiresAt = new Date(Date.now() + 60_000)
  const value = await tokenOf(hub, { deviceId: 'd1' }, expiresAt)
  for (let i = 0; i < 2; i++) await cbs.putToken('a', { type: 'servicebus.windows.net:sastoken', value, expiresAt })
  const session = await connection.session()
  return { hub, connection, session, frames, all: type => frames.filter(it => it.type === type) as never }
}

it('begin and flow are complete; credit is 100 on $cbs, 1000 for telemetry', async () => {
  const { session, all } = await watched()
  const sender = await session.sender('/devices/d1/messages/events')
  await sender.send({ body: new Uint8Array(1) })
  for (const begin of all('begin'))
    expect(begin).toMatchObject({ incomingWindow: 5000, outgoingWindow: 0xffff_ffff, handleMax: 262_143 })
  const flows = all('flow')
  for (const { nextIncomingId, incomingWindow, nextOutgoingId, outgoingWindow, handle, deliveryCount } of flows)
    for (const field of [nextIncomingId, incomingWindow, nextOutgoingId, outgoingWindow, handle, deliveryCount])
      expect(field).toBeTypeOf('number')
  expect(flows.map(({ linkCredit }) => linkCredit)).toEqual([100, 1000])
})

it('$cbs settles each request before it answers it, and counts its tags from 1, little-endian', async () => {
  const { frames, all } = await watched()
  const order = frames.map(({ type }) => type).filter(type => type === 'transfer' || type === 'disposition')
  expect(order).toEqual(['disposition', 'transfer', 'disposition', 'transfer'])
  expect(all('transfer').map(({ deliveryTag }) => [...(deliveryTag ?? [])])).toEqual([
    [1, 0, 0, 0],
    [2, 0, 0, 0],
  ])
  for (const { role, settled, state } of all('disposition'))
    expect({ role, settled, state }).toEqual({ role: 'receiver', settled: true, state: { type: 'accepted' } })
})

it('an attach is answered by name, in the other role, with both termini; a sender counts from 0', async () => {
  const { session, all } = await watched()
  await session.sender('/devices/d1/messages/events', { name: 'same', source: 'me' })
  const modes = { sndSettleMode: 'settled' } as const
  await session.receiver('/devices/d1/twin', { name: 'same', target: 'me', ...modes })
  const [, , telemetry, twin] = all('attach')
  expect(telemetry).toMatchObject({
    ...{ name: 'same', role: 'receiver', maxMessageSize: 1_048_576n },
    ...{ source: { address: 'me' }, target: { address: '/devices/d1/messages/events' } },
  })
  expect(twin).toMatchObject({
    ...{ name: 'same', role: 'sender', maxMessageSize: 1_048_576n, initialDeliveryCount: 0, ...modes },
    ...{ source: { address: '/devices/d1/twin' }, target: { address: 'me' } },
  })
})

it('a link that is refused is attached without its terminus, and closed with the reason', async () => {
  const { session, all } = await watched()
  const condition = 'amqp:unauthorized-access'
  await expect(session.sender('/devices/d2/messages/events')).rejects.toMatchObject({ condition })
  await expect(session.receiver('/devices/d2/twin')).rejects.toMatchObject({ condition })
  const [sender, receiver] = all('attach').slice(-2)
  expect([sender?.target, receiver?.source]).toEqual([undefined, undefined])
  expect(all('detach')).toMatchObject([
    { closed: true, error: { condition } },
    { closed: true, error: { condition } },
  ])
})

it('deliveries are numbered over all links of a session; those with a lock have tags of 16 bytes', async () => {
  const { hub, session, all } = await watched()
  const commands = await session.receiver('/devices/d1/messages/devicebound')
  const answers = await session.receiver('/devices/d1/twin', { sndSettleMode: 'settled' })
  const requests = await session.sender('/devices/d1/twin', { settle: 'settled' })
  for (let i = 0; i < 3; i++) {
    const status = hub.sendToDevice('d1', { body: 'x' })
    await (await commands.receive()).accept()
    expect(await status).toBe('success')
    await requests.send({ messageAnnotations: { operation: 'GET' }, properties: { correlationId: `${i}` }, body: '' })
    await answers.receive()
  }
  const transfers = all('transfer').slice(2)
  expect(transfers.map(({ deliveryId }) => deliveryId)).toEqual([0, 1, 2, 3, 4, 5])
  for (const { deliveryTag, settled } of transfers) expect([deliveryTag?.length, settled === true]).toContain(16)
  expect(transfers.map(({ settled }) => settled === true)).toEqual([false, true, false, true, false, true])
})

it('links are told apart by address and role alone: properties of another link mean nothing', async () => {
  const { hub, session } = await watched()
  // As rhea has it after a twin: every later sender repeats what that was attached with.
  const properties = { 'com.microsoft:channel-correlation-id': 'twin:1', 'com.microsoft:api-version': '2021-04-12' }
  const twin = await session.sender('/devices/d1/twin', { name: 'TwinSenderLink', properties })
  await session.receiver('/devices/d1/twin', { properties })
  const telemetry = await session.sender('/devices/d1/messages/events', { name: 'TwinSenderLink2', properties })
  await telemetry.send({ body: new TextEncoder().encode('x') })
  for await (const event of hub.telemetry) {
    expect(new TextDecoder().decode(event.body)).toBe('x')
    break
  }
  await twin.send({ messageAnnotations: { operation: 'GET' }, properties: { correlationId: 1n }, body: '' })
})

it('an idle client hears an empty frame in time', async () => {
  const { frames } = await watched({ idleTimeOut: 100 })
  const count = (): number => frames.filter(({ type }) => type === 'empty').length
  const before = count()
  await pause(300)
  expect(count() - before).toBeGreaterThanOrEqual(3)
})
