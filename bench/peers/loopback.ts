/**
 * 1 KiB messages between two processes over TCP on the loopback device: both ends fairlead, or both ends rhea.
 *
 * The cases of fairlead are those of `client.bench.ts`. rhea does the same: as many messages without pause, as credit
 * lets it; a receiver that grants 1,000 credits, reads every body and accepts every message; time until every outcome
 * is back, or, of settled ones, until the receiving process says that everything has come. The messages of the ring are
 * made once, encoded at each send.
 */

import { fork } from 'node:child_process'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import rhea, { type EventContext, type Sender } from 'rhea'
import type { Unit } from '../case.ts'
import { clientCases, type PeerMessage } from '../client.bench.ts'
import { dataMessages, RING } from '../corpus.ts'
import { toRhea } from './formats.ts'
import type { PeerCases } from './peer-case.ts'

const WINDOW = 1000
/** As many as a pass of `client.bench.ts`, for the checksums to be the same. */
const OPS = 25_000
const SETTLED = 1
/** Not in the typings. Small writes at once, as fairlead does. */
const SOCKET = { host: '127.0.0.1', tcp_no_delay: true }

async function rheaUnit(settled: boolean): Promise<Unit> {
  const messages = dataMessages(1024).map(toRhea)
  const peer = fork(process.argv[1] as string, ['--rhea-peer'])
  const heard = async <T extends PeerMessage['type']>(type: T): Promise<Extract<PeerMessage, { type: T }>> => {
    const [message] = (await once(peer, 'message')) as [PeerMessage]
    if (message.type !== type) throw new Error(`the peer said ${message.type}, not ${type}`)
    return message as Extract<PeerMessage, { type: T }>
  }
  const { port } = await heard('listening')
  const container = rhea.create_container()
  const connection = container.connect({ ...SOCKET, port, reconnect: false })
  const sender = connection.open_sender({ target: 'bench', ...(settled ? { snd_settle_mode: SETTLED } : {}) })
  await once(sender, 'sendable')
  let cpu = { cpuUsSender: 0, cpuUsReceiver: 0 }
  return {
    ops: OPS,
    bytesPerOp: 1024,
    pass: async () => {
      const received = heard('received')
      peer.send({ type: 'expect', count: OPS } satisfies PeerMessage)
      const before = process.cpuUsage()
      await sendAll(sender, messages, settled)
      const { checksum, cpuUs } = await received
      const { user, system } = process.cpuUsage(before)
      cpu = { cpuUsSender: (user + system) / OPS, cpuUsReceiver: cpuUs / OPS }
      return checksum
    },
    info: () => cpu,
    close: async () => {
      const closed = once(connection, 'connection_close')
      connection.close()
      await closed
      const exit = once(peer, 'exit')
      peer.disconnect()
      const timer = setTimeout(() => peer.kill(), 5_000)
      await exit
      clearTimeout(timer)
    },
  }
}

function sendAll(sender: Sender, messages: readonly ReturnType<typeof toRhea>[], settled: boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    let sent = 0
    let left = OPS
    const send = () => {
      for (; sent < OPS && sender.sendable(); sent++) sender.send(messages[sent % RING] as ReturnType<typeof toRhea>)
      if (settled && sent === OPS) end()
    }
    const onAccepted = () => {
      if (--left === 0) end()
    }
    const onOther = () => reject(new Error('a message was not accepted'))
    const listeners = { sendable: send, accepted: onAccepted, rejected: onOther, released: onOther, modified: onOther }
    const end = () => {
      for (const [event, listener] of Object.entries(listeners)) sender.removeListener(event, listener)
      resolve()
    }
    for (const [event, listener] of Object.entries(listeners)) sender.on(event as 'sendable', listener)
    send()
  })
}

/** The receiving process of rhea: listens on the loopback device and ends with its parent. */
export function rheaPeerMain(): void {
  const container = rhea.create_container()
  let count = 0
  let checksum = 0
  let target = Number.POSITIVE_INFINITY
  let before = process.cpuUsage()
  const say = (message: PeerMessage) => process.send?.(message)
  const check = () => {
    if (count < target) return
    const { user, system } = process.cpuUsage(before)
    say({ type: 'received', checksum, cpuUs: user + system })
    count = 0
    checksum = 0
    target = Number.POSITIVE_INFINITY
  }
  container.on('receiver_open', ({ receiver }: EventContext) => receiver?.set_credit_window(WINDOW))
  container.on('message', ({ message }: EventContext) => {
    const body = message?.body.content as Buffer
    checksum = (checksum + body.length + (body[body.length - 1] as number)) | 0
    count++
    check()
  })
  const server = container.listen({ ...SOCKET, port: 0 })
  server.on('listening', () => say({ type: 'listening', port: (server.address() as AddressInfo).port }))
  process.on('message', (message: PeerMessage) => {
    if (message.type !== 'expect') return
    before = process.cpuUsage()
    target = message.count
    check()
  })
  process.on('disconnect', () => server.close())
}

export const loopbackPeers: PeerCases = {
  'loopback-1k.unsettled': {
    fairlead: () => fairleadUnit('loopback-1k.unsettled'),
    rhea: () => rheaUnit(false),
  },
  'loopback-1k.settled': {
    fairlead: () => fairleadUnit('loopback-1k.settled'),
    rhea: () => rheaUnit(true),
  },
}

function fairleadUnit(name: string): Unit | Promise<Unit> {
  const setUp = clientCases[name]
  if (!setUp) throw new Error(`client.bench.ts has no case ${name}`)
  return setUp()
}
