/** §2.6.8 §2.6.10: one message if there is one, stopping, and what closing a receiver gives back. */

import { afterEach, describe, expect, test } from 'vitest'
import type { Connection, IncomingLink, Receiver, Sender } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import type { ConnectionOptions, ReceiverOptions, TracedFrame } from '../../src/client/options.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { ClosedError } from '../../src/errors.ts'
import { memoryPair } from '../../src/io/memory.ts'
import type { Transport } from '../../src/io/transport.ts'
import { pause } from '../waiting.ts'

const open: { close(): Promise<void> }[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map(what => what.close()))
})

/** What a frame is, in short: `flow credit=1 drain`. */
const short = ({ body }: TracedFrame): string => {
  const { type, linkCredit, drain, echo } = body as Record<string, unknown>
  const credit = linkCredit === undefined ? '' : ` credit=${linkCredit}`
  return `${type}${credit}${drain ? ' drain' : ''}${echo ? ' echo' : ''}`
}

/** A receiver here, and the sender at the other end; frames that we send from now on. */
async function linked(
  options: ReceiverOptions = { credit: 'manual' },
  connection: ConnectionOptions = {},
  transport: (t: Transport) => Transport = t => t,
): Promise<{ receiver: Receiver; far: Sender; near: Connection; frames: string[]; links: Sender[] }> {
  const [a, b] = memoryPair()
  const listener = await listen({ port: null })
  open.push(listener)
  const frames: string[] = []
  const accepting = listener.accept(b)
  const near = await connect({
    host: 'memory',
    transport: transport(a),
    ...connection,
    trace: frame => {
      if (frame.direction === 'out' && frame.layer === 'amqp' && frame.body) frames.push(short(frame))
    },
  })
  open.push(near)
  const links: Sender[] = []
  ;(await accepting).on('session', async incoming => {
    const session = await incoming.accept()
    session.on('link', async (link: IncomingLink) => {
      if (link.remoteRole === 'receiver') links.push(await link.accept())
    })
  })
  const receiver = await near.receiver('q', options)
  await pause(10)
  frames.length = 0
  return { receiver, far: links[0] as Sender, near, frames, links }
}

describe('§2.6.8 get', () => {
  test('one credit and a drain; the message, or nothing', async () => {
    const { receiver, far, frames } = await linked()
    expect(await receiver.get()).toBeUndefined()
    expect(frames).toEqual(['flow credit=1 drain'])
    const sends = [far.send({ body: 'a' }), far.send({ body: 'b' })]
    const first = await receiver.get()
    expect(first?.message.body).toBe('a')
    await first?.accept()
    const second = await receiver.get()
    expect(second?.message.body).toBe('b')
    await second?.accept()
    expect(await receiver.get()).toBeUndefined()
    await Promise.all(sends)
    expect([far.linkCredit, far.pending]).toEqual([0, 0])
  })

  test('several at once each get one, in order', async () => {
    const { receiver, far } = await linked()
    for (const body of ['a', 'b']) far.send({ body }, { settled: true })
    const got = await Promise.all([receiver.get(), receiver.get(), receiver.get()])
    expect(got.map(delivery => delivery?.message.body)).toEqual(['a', 'b', undefined])
  })

  test('with a window: what waits here first, then what the sender has; the window opens again', async () => {
    const { receiver, far, frames } = await linked({ credit: { window: 10 } })
    for (const body of ['a', 'b']) far.send({ body }, { settled: true })
    await pause(10)
    expect((await receiver.get())?.message.body).toBe('a')
    expect((await receiver.get())?.message.body).toBe('b')
    expect(frames.filter(frame => frame.includes('drain'))).toEqual([])
    expect(await receiver.get()).toBeUndefined()
    expect(frames.filter(frame => frame.includes('drain'))).toHaveLength(1)
    await pause(10)
    expect(far.linkCredit).toBe(10)
  })

  test('large messages, in frames', async () => {
    const { receiver, far } = await linked({ credit: 'manual' }, { maxFrameSize: 512 })
    far.send({ body: new Uint8Array(100_000) }, { settled: true })
    const delivery = await receiver.get()
    expect(delivery?.message.body).toEqual(new Uint8Array(100_000))
  })

  test('cancelled: nothing is lost', async () => {
    const { receiver, far } = await linked()
    const signal = AbortSignal.abort(new Error('no'))
    await expect(receiver.get({ signal })).rejects.toThrow('no')
    const controller = new AbortController()
    const getting = receiver.get({ signal: controller.signal })
    far.send({ body: 'a' }, { settled: true })
    controller.abort(new Error('later'))
    await expect(getting).rejects.toThrow('later')
    await pause(10)
    expect((await receiver.get())?.message.body).toBe('a')
  })

  test('the link ends: ClosedError', async () => {
    const { receiver, far } = await linked()
    const getting = receiver.get()
    await Promise.all([far.close({ error: { condition: 'amqp:internal-error' } }), expect(getting).rejects.toThrow()])
    await expect(receiver.get()).rejects.toThrow(ClosedError)
  })
})

describe('§2.6.10 stop', () => {
  test('credit taken back; what was under way is handed out; by hand it goes on', async () => {
    const { receiver, far, frames } = await linked({ credit: { window: 10 } })
    for (let i = 0; i < 3; i++) far.send({ body: { value: i } }, { settled: true })
    await receiver.stop()
    expect(frames.filter(frame => frame.startsWith('flow'))).toEqual(['flow credit=0 echo'])
    const behind = far.send({ body: 'behind' }, { settled: true })
    for (let i = 0; i < 3; i++) expect((await receiver.receive()).message.body).toEqual({ value: i })
    await pause(10)
    expect([far.pending, far.linkCredit]).toEqual([1, 0])
    receiver.addCredit(1)
    expect((await receiver.receive()).message.body).toBe('behind')
    await behind
  })

  test('nothing is lost when it crosses what is sent, and no rule is broken', async () => {
    for (let round = 0; round < 30; round++) {
      const { receiver, far, near } = await linked({ credit: { window: 20 } })
      const sends = Array.from({ length: 50 }, (_, i) => far.send({ body: { value: i } }, { settled: true }))
      let turns = round
      while (turns-- > 0) await Promise.resolve()
      await receiver.stop()
      let count = 0
      const taking = (async () => {
        for await (const delivery of receiver) if (delivery) count++
      })()
      await expect.poll(() => count + far.pending, { interval: 1 }).toBe(50)
      receiver.addCredit(100)
      await Promise.all(sends)
      await expect.poll(() => count, { interval: 1 }).toBe(50)
      await near.close()
      await taking
    }
  })
})

/** A transport that drops flows of ours once it is told to: the peer never hears of the drain. */
function deafToFlows(transport: Transport): { transport: Transport; deafen(): void } {
  let deaf = false
  return {
    deafen: () => {
      deaf = true
    },
    transport: {
      start: sink => transport.start(sink),
      write: chunks => {
        const bytes = Buffer.concat(chunks)
        const kept: Uint8Array[] = []
        for (let at = 0; at < bytes.length; at += bytes.readUInt32BE(at)) {
          const size = bytes.subarray(at, at + 4).toString() === 'AMQP' ? 8 : bytes.readUInt32BE(at)
          const isFlow = bytes[at + 8] === 0 && bytes[at + 9] === 0x53 && bytes[at + 10] === 0x13
          if (!(deaf && isFlow)) kept.push(Uint8Array.from(bytes.subarray(at, at + size)))
          if (size === 8 && bytes.subarray(at, at + 4).toString() === 'AMQP') return transport.write(chunks)
        }
        return transport.write(kept)
      },
      end: () => transport.end(),
      destroy: error => transport.destroy(error),
    },
  }
}

describe('closing a receiver', () => {
  test('what nobody has taken is released, what is under way included', async () => {
    const { receiver, far } = await linked({ credit: { window: 10 } })
    const sends = Array.from({ length: 6 }, (_, i) => far.send({ body: { value: i } }))
    const taken = await receiver.receive()
    const late = far.send({ body: 'late' })
    await taken.accept()
    await receiver.close()
    const outcomes = await Promise.all([...sends, late])
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(['accepted', ...Array(6).fill('released')])
  })

  test('over any cut of time: nothing is left without an outcome, accepted or released', async () => {
    for (let round = 0; round < 30; round++) {
      const { receiver, far } = await linked({ credit: { window: 5 } })
      const sends = Array.from({ length: 20 }, (_, i) =>
        far.send({ body: { value: i } }).then(
          ({ outcome }) => outcome,
          () => 'unsent',
        ),
      )
      for (let turns = round; turns > 0; turns--) await Promise.resolve()
      await receiver.close()
      const known = await Promise.all(sends)
      const arrived = known.filter(outcome => outcome !== 'unsent').length
      // Those in front were sent and given back, those behind never left.
      expect(known).toEqual([...Array(arrived).fill('released'), ...Array(20 - arrived).fill('unsent')])
    }
  })

  test('what is held and not settled stays with its holder', async () => {
    const { receiver, far } = await linked()
    receiver.addCredit(2)
    const sends = [far.send({ body: 'a' }), far.send({ body: 'b' })]
    const held = await receiver.receive()
    const lost = expect(sends[0]).rejects.toThrow(ClosedError)
    await receiver.close()
    await lost
    expect(held.state).toBe('lost')
    expect(await sends[1]).toEqual({ outcome: 'released' })
  })

  test('a session’s end and a connection’s close release what nobody has taken, too', async () => {
    for (const end of [(c: Connection) => c.close(), (_: Connection, r: Receiver) => r.session.end()]) {
      const { receiver, far, near } = await linked({ credit: { window: 10 } })
      const sends = Array.from({ length: 3 }, () => far.send({ body: 'x' }))
      await pause(10)
      await end(near, receiver)
      expect((await Promise.all(sends)).map(({ outcome }) => outcome)).toEqual(Array(3).fill('released'))
    }
  })

  test('without credit it is closed at once; with an error nothing is waited for', async () => {
    const idle = await linked()
    await idle.receiver.close()
    expect(idle.frames).toEqual(['detach'])
    const failing = await linked({ credit: { window: 10 } })
    await failing.receiver.close({ error: { condition: 'amqp:internal-error' } })
    expect(failing.frames).toEqual(['detach'])
  })

  test('a peer that does not answer the drain is waited for no longer than limits.settleMs', async () => {
    let deafen = (): void => {}
    const { receiver, far } = await linked({ credit: { window: 10 } }, { limits: { settleMs: 50 } }, transport => {
      const wrapped = deafToFlows(transport)
      deafen = wrapped.deafen
      return wrapped.transport
    })
    const sends = [far.send({ body: 'x' })]
    await pause(10)
    deafen()
    const began = performance.now()
    await receiver.close()
    const took = performance.now() - began
    expect(took).toBeGreaterThan(40)
    expect(took).toBeLessThan(500)
    expect(await sends[0]).toEqual({ outcome: 'released' })
  })
})
