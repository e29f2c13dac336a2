/**
 * The golden bad frames through the engine (§2.3, §2.8.15–16): never a throw, exactly one protocol error, and above the
 * SASL layer one close that says why, after which nothing is read.
 */

import { describe, expect, test } from 'vitest'
import { Engine, type EngineOptions } from '../../src/engine/engine.ts'
import type { EngineEvent } from '../../src/engine/events.ts'
import { bytewise } from '../framing/reading.ts'
import { open, read } from '../peer/composites.ts'
import { amqpHeader, concat, frame, fromHex, parseFrames, saslHeader, toHex } from '../peer/wire.ts'
import { loadVectors } from '../vectors/load.ts'

const rows = loadVectors('bad-frames')
const isSasl = ({ section, bytes }: (typeof rows)[number]): boolean => section.startsWith('§5.3') && bytes[5] === 1

/** Taken as an offer of nothing: see the framing tests. */
const ACCEPTED = 'sasl-mechanisms, empty array'

function play(options: EngineOptions, chunks: readonly Uint8Array[], localOpen: boolean) {
  const engine = new Engine(options)
  if (localOpen) engine.connection.open({ containerId: 'us' })
  const out: Uint8Array[] = [...engine.output(1 << 20, 0)]
  for (const chunk of chunks) {
    engine.receive(chunk, 0)
    out.push(...engine.output(1 << 20, 0))
  }
  const events: EngineEvent[] = []
  for (let event = engine.nextEvent(); event; event = engine.nextEvent()) events.push(event)
  return { engine, events, out: concat(...out) }
}

/** The names of the frames behind the header, and the condition of the last. */
function frames(bytes: Uint8Array): { names: (string | undefined)[]; condition: unknown } {
  expect(toHex(bytes.subarray(0, 8))).toBe(toHex(amqpHeader))
  const { frames, rest } = parseFrames(bytes.subarray(8))
  expect(rest).toHaveLength(0)
  const all = frames.map(({ performative }) => performative && read(performative))
  const error = all.at(-1)?.fields['error']
  return { names: all.map(body => body?.name), condition: error && read(error)?.fields['condition']?.v }
}

describe.each([
  ['before its open', []],
  ['after its open', [frame(0, open({ containerId: 'peer' }))]],
] as const)('AMQP frames %s', (_when, before) => {
  const amqp = rows.filter(row => !isSasl(row))

  test.each(amqp.flatMap(row => [true, false].map(localOpen => ({ ...row, localOpen }))))(
    '$section $name (open sent: $localOpen)',
    ({ bytes, section, localOpen }) => {
      const good = concat(amqpHeader, ...before)
      for (const chunks of [[good, bytes], [concat(good, bytes)], bytewise(concat(good, bytes))]) {
        const { engine, events, out } = play({}, chunks, localOpen)
        const { names, condition } = frames(out)
        expect(names).toEqual(['open', 'close'])
        expect(condition).toBe(section === '§2.3.1' ? 'amqp:connection:framing-error' : 'amqp:decode-error')
        const types = events.map(({ type }) => type)
        expect(types.filter(type => type !== 'connection.opened')).toEqual(['protocol.error', 'connection.closed'])
        expect(types.filter(type => type === 'connection.opened')).toHaveLength(before.length)
        const last = events.at(-1)
        if (last?.type !== 'connection.closed') throw new Error('not closed')
        expect(last).toMatchObject({
          by: 'local',
          error: { code: 'ERR_AMQP_PROTOCOL', condition, scope: 'connection' },
        })
        expect(engine.isDone).toBe(true)
      }
    },
  )

  test('what follows is not read', () => {
    const bad = fromHex('00000008 01 00 0000')
    const more = frame(0, open({ containerId: 'peer' }))
    const { engine, events } = play({}, [concat(amqpHeader, ...before, bad, more), more, bad], true)
    expect(events.filter(({ type }) => type === 'protocol.error')).toHaveLength(1)
    expect(engine.output(1 << 20, 0)).toEqual([])
  })
})

describe.each(['client', 'server'] as const)('SASL frames to a %s', role => {
  test.each(rows.filter(row => isSasl(row) && row.name !== ACCEPTED))('$section $name', ({ bytes }) => {
    for (const chunks of [[saslHeader, bytes], [concat(saslHeader, bytes)], bytewise(concat(saslHeader, bytes))]) {
      const { engine, events, out } = play({ sasl: role }, chunks, true)
      expect(events.map(({ type }) => type)).toEqual(['protocol.error', 'connection.closed'])
      expect(engine.isDone).toBe(true)
      // Nothing is said about it: the layer has no way to.
      const { frames } = parseFrames(out.subarray(8))
      expect(frames.map(({ type, performative }) => [type, performative && read(performative)?.name])).toEqual(
        role === 'server' ? [[1, 'saslMechanisms']] : [],
      )
    }
  })
})
