/** Attaches that cannot be answered because of what the peer said: its session ends, the process does not. §2.6.3 */

import { afterEach, beforeEach, expect, test } from 'vitest'
import type { IncomingLink, Listener } from '../../src/client/api.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { ClosedError, EncodeError, UsageError } from '../../src/errors.ts'
import { talk } from '../defects/talk.ts'
import { uncaught } from '../defects/uncaught.ts'
import { attach, begin, close, type Field, type Fields, open, read } from '../peer/composites.ts'
import { amqpHeader, concat, type Frame, frame, parseFrames, type Wire } from '../peer/wire.ts'

let listener: Listener
let onLink: (link: IncomingLink) => unknown
beforeEach(async () => {
  listener = await listen()
  listener.on('connection', connection =>
    connection.on('session', async incoming => (await incoming.accept()).on('link', link => onLink(link))),
  )
})
afterEach(() => listener.close())

const LONG = 'n'.repeat(600)
const FILTER: Fields = { f: LONG }
const attachOf = (role: string, name: string, filter?: Field) =>
  attach({
    name,
    handle: 0,
    role,
    source: { filter },
    target: {},
    initialDeliveryCount: role === 'sender' ? 0 : undefined,
  })

/** Attaches, with frames of at most 512 bytes, and gives what the listener says until both have closed. */
async function heard(...attaches: Wire[]): Promise<{ name: string; fields: Record<string, Wire> }[]> {
  const said = await talk(
    listener.port,
    concat(
      amqpHeader,
      frame(0, open({ containerId: 'peer', maxFrameSize: 512 })),
      frame(0, begin({ nextOutgoingId: 0, incomingWindow: 100, outgoingWindow: 100 })),
      ...attaches.map(each => frame(0, each)),
    ),
    frame(0, close()),
  )
  return parseFrames(said.subarray(8)).frames.flatMap(
    ({ performative }: Frame) => (performative && read(performative)) || [],
  )
}

const names = (frames: readonly { name: string }[]): string[] => frames.map(({ name }) => name)
const condition = (value: Wire | undefined): unknown => value && read(value)?.fields['condition']?.v

test.each([
  ['a name that the peer’s frames cannot hold', LONG, undefined],
  ['a filter that they cannot hold', 'l', FILTER],
])('%s: accept rejects with ClosedError, the session ends, nothing is uncaught', async (_, name, filter) => {
  for (const role of ['sender', 'receiver']) {
    using caught = uncaught()
    const errors: unknown[] = []
    onLink = async link => {
      const accepting = link.accept()
      accepting.catch(error => errors.push(error))
      // As any listener would: not caught.
      await accepting
    }
    const frames = await heard(attachOf(role, name, filter))
    expect(names(frames)).toEqual(['open', 'begin', 'end', 'close'])
    expect(condition(frames[2]?.fields['error'])).toBe('amqp:not-allowed')
    expect(errors).toHaveLength(1)
    expect(errors[0]).toBeInstanceOf(ClosedError)
    expect(caught.errors).toEqual([])
  }
})

test('refused: without what cannot be said back, or with the session', async () => {
  using caught = uncaught()
  onLink = link => link.refuse({ condition: 'amqp:not-found' })
  expect(names(await heard(attachOf('sender', 'l', FILTER)))).toEqual(['open', 'begin', 'attach', 'detach', 'close'])
  expect(names(await heard(attachOf('receiver', LONG)))).toEqual(['open', 'begin', 'end', 'close'])
  expect(caught.errors).toEqual([])
})

test('what the application asks for and cannot have stays its own error, and the link is still there', async () => {
  const errors: unknown[] = []
  onLink = async link => {
    for (const value of [Symbol('s'), 'x'.repeat(70_000)])
      await link.accept({ reply: { properties: { value } } } as never).catch((error: unknown) => errors.push(error))
    await link.accept()
  }
  expect(names(await heard(attachOf('sender', 'l')))).toEqual(['open', 'begin', 'attach', 'flow', 'close'])
  expect(errors.map(error => (error as Error).constructor)).toEqual([EncodeError, UsageError])
})

test('a reply that would fit our own frames and not the peer’s is the peer’s doing', async () => {
  using caught = uncaught()
  onLink = link => link.accept({ reply: { properties: { value: LONG } } } as never)
  expect(names(await heard(attachOf('sender', 'l')))).toEqual(['open', 'begin', 'end', 'close'])
  expect(caught.errors).toEqual([])
})
