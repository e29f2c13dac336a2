/**
 * The promise API: in memory within one process, and over TCP on the loopback device between two. One operation is one
 * message, sent by `send()`, received by `for await … accept()`, until its outcome is back; settled ones until they
 * have been received.
 */

import { fork } from 'node:child_process'
import { once } from 'node:events'
import type { Sender } from '../src/client/api.ts'
import { connect } from '../src/client/connect.ts'
import type { Outcome } from '../src/client/outcome.ts'
import { listen } from '../src/client/serving/listen.ts'
import { memoryPair } from '../src/io/memory.ts'
import type { MessageInit } from '../src/message/message.ts'
import type { Cases, Unit } from './case.ts'
import { dataMessages, RING } from './corpus.ts'
import { Receiving } from './receiving.ts'

/** Credit of the receiver, as brokers grant it; the default of the API is 100. */
const WINDOW = 1000

/** What the two processes say to each other besides AMQP. */
export type PeerMessage =
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'expect'; readonly count: number }
  | { readonly type: 'received'; readonly checksum: number; readonly cpuUs: number }

/** Sends `count` messages from the ring as fast as `ready()` lets it, and waits for every outcome. */
function sendAll(sender: Sender, messages: readonly MessageInit[], count: number, settled: boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    let left = count
    const onOutcome = (outcome: Outcome): void => {
      if (outcome.outcome !== 'accepted') reject(new Error(`a message was ${outcome.outcome}`))
      else if (--left === 0) resolve()
    }
    const options = { settled }
    const produce = async () => {
      for (let i = 0; i < count; i++) {
        if (sender.pending >= 1024) await sender.ready()
        sender.send(messages[i % RING] as MessageInit, options).then(onOutcome, reject)
      }
    }
    produce().catch(reject)
  })
}

async function memoryUnit(settled: boolean): Promise<Unit> {
  const messages = dataMessages(1024)
  const [near, far] = memoryPair()
  const listener = await listen({})
  const accepting = listener.accept(far)
  const connection = await connect({ host: 'memory', transport: near })
  const receiving = new Receiving(WINDOW)
  receiving.take(await accepting)
  const sender = await connection.sender('bench')
  const ops = 4 * RING
  return {
    ops,
    bytesPerOp: 1024,
    pass: async () => {
      const received = receiving.next(ops)
      await sendAll(sender, messages, ops, settled)
      return (await received).checksum
    },
    close: async () => {
      await connection.close()
      await listener.close()
    },
  }
}

/** This process sends; a second one, running `peerMain`, receives. */
async function loopbackUnit(size: number, ops: number, settled: boolean): Promise<Unit> {
  const messages = dataMessages(size)
  const peer = fork(process.argv[1] as string, ['--peer'])
  const heard = async <T extends PeerMessage['type']>(type: T): Promise<Extract<PeerMessage, { type: T }>> => {
    const [message] = (await once(peer, 'message')) as [PeerMessage]
    if (message.type !== type) throw new Error(`the peer said ${message.type}, not ${type}`)
    return message as Extract<PeerMessage, { type: T }>
  }
  const { port } = await heard('listening')
  const connection = await connect(`amqp://127.0.0.1:${port}`)
  const sender = await connection.sender('bench')
  let cpu = { cpuUsSender: 0, cpuUsReceiver: 0 }
  return {
    ops,
    bytesPerOp: size,
    pass: async () => {
      const received = heard('received')
      peer.send({ type: 'expect', count: ops } satisfies PeerMessage)
      const before = process.cpuUsage()
      await sendAll(sender, messages, ops, settled)
      const { checksum, cpuUs } = await received
      const { user, system } = process.cpuUsage(before)
      cpu = { cpuUsSender: (user + system) / ops, cpuUsReceiver: cpuUs / ops }
      return checksum
    },
    info: () => cpu,
    close: async () => {
      await connection.close()
      const exit = once(peer, 'exit')
      peer.disconnect()
      const timer = setTimeout(() => peer.kill(), 5_000)
      await exit
      clearTimeout(timer)
    },
  }
}

/** The receiving process: listens on the loopback device and ends with its parent. */
export async function peerMain(): Promise<void> {
  const listener = await listen({})
  const receiving = new Receiving(WINDOW)
  listener.on('connection', connection => receiving.take(connection))
  const say = (message: PeerMessage) => process.send?.(message)
  process.on('message', async (message: PeerMessage) => {
    if (message.type !== 'expect') return
    const before = process.cpuUsage()
    const { checksum } = await receiving.next(message.count)
    const { user, system } = process.cpuUsage(before)
    say({ type: 'received', checksum, cpuUs: user + system })
  })
  process.on('disconnect', () => void listener.close())
  say({ type: 'listening', port: listener.port })
}

export const clientCases: Cases = {
  'memory-1k.unsettled': () => memoryUnit(false),
  'memory-1k.settled': () => memoryUnit(true),
  'loopback-1k.unsettled': () => loopbackUnit(1024, 25_000, false),
  'loopback-1k.settled': () => loopbackUnit(1024, 25_000, true),
  'loopback-64k.unsettled': () => loopbackUnit(65_536, 2_500, false),
  'loopback-64k.settled': () => loopbackUnit(65_536, 2_500, true),
}
