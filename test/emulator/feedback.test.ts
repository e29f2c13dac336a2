import { describe, expect, it } from 'vitest'
import {
  type Acknowledgement,
  FeedbackBatcher,
  type FeedbackRecord,
  feedbackRecord,
  isReported,
  parseAcknowledgement,
} from '../../src/emulator/feedback.ts'
import { lockTokenBytes, newLockToken } from '../../src/emulator/lock-token.ts'

const statuses = ['success', 'expired', 'deliveryCountExceeded', 'rejected', 'purged'] as const

const record = (originalMessageId = 'm'): FeedbackRecord =>
  feedbackRecord({ originalMessageId, status: 'success', deviceId: 'd', deviceGenerationId: '7' }, 0)

describe('what is reported', () => {
  it.each<[Acknowledgement, readonly string[]]>([
    ['none', []],
    ['positive', ['success']],
    ['negative', ['expired', 'deliveryCountExceeded', 'rejected', 'purged']],
    ['full', statuses],
  ])('%s', (ack, reported) => {
    expect(statuses.filter(status => isReported(ack, status))).toEqual(reported)
  })

  it('reads acknowledgements in any case; without one it is none', () => {
    expect(parseAcknowledgement(undefined)).toBe('none')
    expect(parseAcknowledgement('Full')).toBe('full')
    expect(parseAcknowledgement('yes')).toBeUndefined()
  })

  it('is a record of strings', () => {
    const init = {
      originalMessageId: 'm1',
      status: 'deliveryCountExceeded',
      deviceId: 'd',
      deviceGenerationId: '7',
    } as const
    expect(feedbackRecord(init, Date.UTC(2015, 6, 28, 16, 24, 48, 789))).toEqual({
      originalMessageId: 'm1',
      enqueuedTimeUtc: '2015-07-28T16:24:48.789Z',
      statusCode: 'DeliveryCountExceeded',
      description: 'DeliveryCountExceeded',
      deviceId: 'd',
      deviceGenerationId: '7',
    })
  })
})

describe('batches', () => {
  it('are due some time after their first record', () => {
    const batcher = new FeedbackBatcher(15_000)
    expect(batcher.deadline()).toBeUndefined()
    batcher.add(record('a'), 1000)
    batcher.add(record('b'), 9000)
    expect(batcher.deadline()).toBe(16_000)
    expect(batcher.take(15_999)).toEqual([])
    expect(batcher.take(16_000).map(batch => batch.map(r => r.originalMessageId))).toEqual([['a', 'b']])
    expect(batcher.deadline()).toBeUndefined()
    expect(batcher.take(99_999)).toEqual([])
  })

  it('are due when full, and leave the rest for later', () => {
    const batcher = new FeedbackBatcher(15_000)
    for (let i = 0; i < 130; i++) batcher.add(record(), 0)
    expect(batcher.deadline()).toBeLessThanOrEqual(0)
    expect(batcher.take(1).map(batch => batch.length)).toEqual([64, 64])
    expect(batcher.deadline()).toBe(15_001)
    expect(batcher.take(15_001).map(batch => batch.length)).toEqual([2])
  })
})

describe('lock tokens', () => {
  it('have the bytes of a .NET GUID', () => {
    const bytes = lockTokenBytes('00112233-4455-6677-8899-aabbccddeeff')
    expect(Buffer.from(bytes).toString('hex')).toBe('33221100554477668899aabbccddeeff')
  })

  it('differ', () => {
    expect(newLockToken()).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
    expect(newLockToken()).not.toBe(newLockToken())
  })
})
