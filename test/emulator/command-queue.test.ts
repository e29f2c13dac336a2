import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  CommandQueue,
  type CommandQueueOptions,
  type LockedCommand,
  type Settlement,
} from '../../src/emulator/command-queue.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

function queueOf(options?: CommandQueueOptions): CommandQueue<string> {
  let last = 0
  return new CommandQueue<string>(() => `lock-${++last}`, options)
}

function taken(queue: CommandQueue<string>, now: number): LockedCommand<string> {
  const command = queue.take(now)
  if (command === undefined) throw new Error('nothing to take')
  return command
}

const endOf = (settlement: Settlement<string>): string =>
  settlement.result === 'ended' ? `${settlement.end.command.message}:${settlement.end.status}` : settlement.result

describe('waiting and locked', () => {
  it('gives messages in the order enqueued, each locked for a minute', () => {
    const queue = queueOf()
    queue.enqueue('a', 0)
    queue.enqueue('b', 10)
    expect(taken(queue, 100)).toEqual({
      message: 'a',
      sequenceNumber: 1n,
      enqueuedAt: 0,
      expiresAt: HOUR,
      deliveryCount: 0,
      lockToken: 'lock-1',
      lockedUntil: 100 + MINUTE,
    })
    expect(taken(queue, 100)).toMatchObject({ message: 'b', sequenceNumber: 2n, lockToken: 'lock-2' })
    expect(queue.take(100)).toBeUndefined()
    expect(queue).toMatchObject({ depth: 2, waiting: 0 })
  })

  it('is full with 50 messages, locked ones included', () => {
    const queue = queueOf()
    for (let i = 0; i < 50; i++) expect(queue.enqueue(`${i}`, 0)).toBeDefined()
    const { lockToken } = taken(queue, 0)
    expect(queue.enqueue('one more', 0)).toBeUndefined()
    queue.complete(lockToken, 0)
    expect(queue.enqueue('one more', 0)).toBeDefined()
  })
})

describe('verdicts', () => {
  it('completes and rejects for good', () => {
    const queue = queueOf()
    queue.enqueue('a', 0)
    queue.enqueue('b', 0)
    expect(endOf(queue.complete(taken(queue, 0).lockToken, 1))).toBe('a:success')
    expect(endOf(queue.reject(taken(queue, 0).lockToken, 1))).toBe('b:rejected')
    expect(queue.depth).toBe(0)
  })

  it('abandons nine times, and gives up at the tenth', () => {
    const queue = queueOf()
    queue.enqueue('a', 0)
    for (let count = 0; count < 9; count++) {
      const command = taken(queue, 0)
      expect(command.deliveryCount).toBe(count)
      expect(endOf(queue.abandon(command.lockToken, 0))).toBe('requeued')
    }
    const end = queue.abandon(taken(queue, 0).lockToken, 0)
    expect(end).toMatchObject({ end: { command: { deliveryCount: 10 }, status: 'deliveryCountExceeded' } })
    expect(queue.depth).toBe(0)
  })

  it('puts what is abandoned before what came later', () => {
    const queue = queueOf()
    for (const message of ['a', 'b', 'c', 'd']) queue.enqueue(message, 0)
    const [a, b] = [taken(queue, 0), taken(queue, 0)]
    queue.abandon(b.lockToken, 0)
    queue.abandon(a.lockToken, 0)
    expect([1, 2, 3, 4].map(() => taken(queue, 0).message)).toEqual(['a', 'b', 'c', 'd'])
  })

  it('puts what is released back where it was, uncounted, and what is not locked nowhere', () => {
    const queue = queueOf()
    for (const message of ['a', 'b']) queue.enqueue(message, 0)
    const { lockToken } = taken(queue, 0)
    queue.release(lockToken)
    queue.release(lockToken)
    expect(queue).toMatchObject({ depth: 2, waiting: 2 })
    expect(taken(queue, 0)).toMatchObject({ message: 'a', deliveryCount: 0 })
    expect(endOf(queue.complete(lockToken, 0))).toBe('lost')
  })

  it('ignores a lock that is settled, ended or unknown', () => {
    const queue = queueOf()
    queue.enqueue('a', 0)
    const { lockToken } = taken(queue, 0)
    expect(endOf(queue.complete('no such lock', 0))).toBe('lost')
    expect(endOf(queue.complete(lockToken, MINUTE))).toBe('lost')
    expect(queue.depth).toBe(1)
    expect(endOf(queue.complete(lockToken, MINUTE - 1))).toBe('a:success')
    for (const verdict of ['complete', 'abandon', 'reject'] as const)
      expect(endOf(queue[verdict](lockToken, 0))).toBe('lost')
  })
})

describe('time', () => {
  it('ends a lock without counting, and the next one has another token', () => {
    const queue = queueOf()
    queue.enqueue('a', 0)
    queue.enqueue('b', 0)
    const first = taken(queue, 0)
    expect(queue.deadline()).toBe(MINUTE)
    expect(queue.advance(MINUTE - 1)).toEqual([])
    expect(queue.waiting).toBe(1)
    expect(queue.advance(MINUTE)).toEqual([])
    const again = taken(queue, MINUTE)
    expect(again).toMatchObject({ message: 'a', deliveryCount: 0 })
    expect(again.lockToken).not.toBe(first.lockToken)
  })

  it('expires what waits, by its own time or the default', () => {
    const queue = queueOf()
    queue.enqueue('a', 0)
    queue.enqueue('b', 0, 500)
    expect(queue.deadline()).toBe(500)
    expect(queue.advance(500)).toMatchObject([{ command: { message: 'b' }, status: 'expired' }])
    expect(queue.deadline()).toBe(HOUR)
    expect(queue.advance(HOUR)).toMatchObject([{ command: { message: 'a' }, status: 'expired' }])
    expect(queue.deadline()).toBeUndefined()
  })

  it('never gives out what has expired', () => {
    const queue = queueOf()
    queue.enqueue('past', 0, 10)
    queue.enqueue('a', 0)
    expect(taken(queue, 10).message).toBe('a')
  })

  it('lets a verdict on a locked message stand after its time, and expires it when the lock ends otherwise', () => {
    const queue = queueOf()
    for (const message of ['a', 'b', 'c']) queue.enqueue(message, 0, 100)
    const [a, b] = [taken(queue, 0), taken(queue, 0), taken(queue, 0)]
    expect(queue.advance(200)).toEqual([])
    expect(endOf(queue.complete(a.lockToken, 200))).toBe('a:success')
    expect(endOf(queue.abandon(b.lockToken, 200))).toBe('b:expired')
    expect(queue.advance(MINUTE)).toMatchObject([{ command: { message: 'c' }, status: 'expired' }])
    expect(queue.depth).toBe(0)
  })

  it('has no deadline while empty', () => {
    expect(queueOf().deadline()).toBeUndefined()
  })
})

it('purges what waits and what is locked', () => {
  const queue = queueOf()
  for (const message of ['a', 'b']) queue.enqueue(message, 0)
  const { lockToken } = taken(queue, 0)
  expect(queue.purge()).toMatchObject([
    { command: { message: 'a' }, status: 'purged' },
    { command: { message: 'b' }, status: 'purged' },
  ])
  expect(queue.depth).toBe(0)
  expect(endOf(queue.complete(lockToken, 0))).toBe('lost')
})

it('whatever happens, each message ends at most once, and what has not ended is still there', () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('enqueue' as const), ttl: fc.integer({ min: 1, max: 300 }) }),
    fc.record({ do: fc.constant('take' as const) }),
    fc.record({ do: fc.constantFrom('complete' as const, 'abandon' as const, 'reject' as const), lock: fc.nat(20) }),
    fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 120 }) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), steps => {
      const queue = queueOf({ lockMs: 100, maxDeliveryCount: 3, maxDepth: 8 })
      const locks: string[] = []
      const ended: string[] = []
      let now = 0
      let accepted = 0
      for (const next of steps) {
        if (next.do === 'enqueue') accepted += queue.enqueue(`${accepted}`, now, now + next.ttl) === undefined ? 0 : 1
        else if (next.do === 'wait') now += next.ms
        else if (next.do === 'take') {
          const command = queue.take(now)
          if (command === undefined) continue
          expect(command.expiresAt).toBeGreaterThan(now)
          locks.push(command.lockToken)
        } else {
          const settlement = queue[next.do](locks[next.lock % (locks.length || 1)] ?? '', now)
          if (settlement.result === 'ended') ended.push(settlement.end.command.message)
        }
        for (const { command } of queue.advance(now)) ended.push(command.message)
        expect(queue.depth).toBeLessThanOrEqual(8)
        expect(queue.deadline() ?? Number.POSITIVE_INFINITY).toBeGreaterThan(now)
      }
      expect(new Set(ended).size).toBe(ended.length)
      expect(ended.length + queue.depth).toBe(accepted)
    }),
  )
})
