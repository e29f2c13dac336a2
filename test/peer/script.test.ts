/** The scripted peer itself: it passes what is right, and fails, legibly, at what is not. */

import { describe, expect, test } from 'vitest'
import { begin, close, error, flow, open, transfer } from './composites.ts'
import { any, failing, match, type Script, scripted } from './script.ts'
import { amqpHeader, concat, frame, saslHeader, type Wire } from './wire.ts'

/** A peer whose partner says these bytes, and what the partner hears. */
function hearing(...bytes: Uint8Array[]): { peer: Script; heard: Uint8Array[] } {
  const heard: Uint8Array[] = []
  const peer = scripted({ receive: chunk => heard.push(chunk), output: () => bytes.shift() ?? new Uint8Array(0) })
  return { peer, heard }
}

const OPEN = frame(0, open({ containerId: 'x', maxFrameSize: 512 }))
const BEGIN = { nextOutgoingId: 5, incomingWindow: 1, outgoingWindow: 2 }

describe('expecting', () => {
  test('what comes, in order, however it is cut', () => {
    const all = concat(amqpHeader, OPEN, frame(3, begin(BEGIN)), frame(0))
    const { peer } = hearing(all.slice(0, 5), all.slice(5, 30), all.slice(30))
    expect(() => peer.expectHeader()).toThrow('nothing')
    peer.expectHeader()
    const again = hearing(all).peer
    again.expectHeader().expectOpen({ containerId: 'x', maxFrameSize: 512 }).expectBegin(BEGIN, undefined, 3)
    again.expectEmpty().finished()
    expect(again.nextIncomingId).toBe(5)
  })

  test.each<[string, (peer: Script) => unknown, string]>([
    ['another value', peer => peer.expectOpen({ containerId: 'y', maxFrameSize: 512 }), '-   containerId: string y'],
    [
      'a field that is not there',
      peer => peer.expectOpen({ containerId: 'x', maxFrameSize: 512, hostname: 'h' }),
      '- ',
    ],
    ['a field that nobody expects', peer => peer.expectOpen({ containerId: 'x' }), '+   maxFrameSize: uint 512'],
    ['another frame', peer => peer.expectClose(), '+ open on channel 0'],
    [
      'another channel',
      peer => peer.expectOpen({ containerId: 'x', maxFrameSize: 512 }, undefined, 1),
      '- open on channel 1',
    ],
    [
      'payload',
      peer => peer.expectOpen({ containerId: 'x', maxFrameSize: 512 }, Uint8Array.of(1)),
      '-   payload: 1 bytes, 01',
    ],
    ['a header', peer => peer.expectHeader(), 'expected header'],
    ['an empty frame', peer => peer.expectEmpty(), '- empty frame'],
    [
      'a matcher that says no',
      peer => peer.expectOpen({ containerId: match('odd', () => false), maxFrameSize: any }),
      'odd',
    ],
    ['nothing', peer => peer.nothing(), '- nothing'],
    ['the end', peer => peer.finished(), '+ open on channel 0'],
  ])('fails at %s', (_name, expectation, difference) => {
    expect(() => expectation(hearing(OPEN).peer)).toThrow(difference)
  })

  test('fails at the end when half of a frame is left', () => {
    expect(() => hearing(OPEN.slice(0, 20)).peer.finished()).toThrow('the beginning of a frame')
  })

  test('fails at a frame that the standard would not have', () => {
    const missing = frame(0, begin({ nextOutgoingId: 1, incomingWindow: 1 }))
    expect(() => hearing(missing).peer.expectBegin({ nextOutgoingId: 1, incomingWindow: 1 })).toThrow('standard')
  })

  test('fails at a frame that is larger than we have said we take', () => {
    const { peer } = hearing(frame(0, transfer({ handle: 0 }), new Uint8Array(600)))
    peer.sendOpen({ maxFrameSize: 512 })
    expect(() => peer.nothing()).toThrow('above 512')
  })

  test('a default counts as absent, and so does a false flag', () => {
    const said = flow({ incomingWindow: 1, nextOutgoingId: 2, outgoingWindow: 3, drain: false })
    hearing(frame(0, said)).peer.expectFlow({ incomingWindow: 1, nextOutgoingId: 2, outgoingWindow: 3 }).finished()
    const max = open({ containerId: 'x', maxFrameSize: 0xffffffff })
    hearing(frame(0, max)).peer.expectOpen({ containerId: 'x' }).finished()
  })

  test('an error by its condition, which must be described', () => {
    const told = (fields: { condition: string; description?: string }): Uint8Array =>
      frame(0, close({ error: error(fields) }))
    const expected = { error: failing('a:b') }
    hearing(told({ condition: 'a:b', description: 'why' }))
      .peer.expectClose(expected)
      .finished()
    expect(() => hearing(told({ condition: 'a:b' })).peer.expectClose(expected)).toThrow('error a:b, described')
    expect(() => hearing(told({ condition: 'c:d', description: 'why' })).peer.expectClose(expected)).toThrow('c:d')
  })
})

describe('saying', () => {
  test('each frame by itself, or together', () => {
    const { peer, heard } = hearing()
    peer.sendHeader(saslHeader).together(all => all.sendHeader().sendOpen().sendEmpty(4))
    expect(heard).toHaveLength(2)
    expect(heard[1]).toEqual(concat(amqpHeader, frame(0, open({ containerId: 'peer' })), frame(4)))
  })

  test('an answer to what was heard', () => {
    const { peer, heard } = hearing(frame(7, begin(BEGIN)))
    expect(() => peer.respondBegin()).toThrow('nothing to answer')
    peer.expectBegin(BEGIN, undefined, 7).respondBegin({ incomingWindow: 9 })
    const answer = begin({ remoteChannel: 7, nextOutgoingId: 0, incomingWindow: 9, outgoingWindow: 2048 })
    expect(heard).toEqual([frame(0, answer)])
  })

  test('anything, right or wrong', () => {
    const { peer, heard } = hearing()
    const wrong: Wire = { t: 'string', v: 'no handle' }
    peer.sendDetach({ handle: wrong, closed: false }).sendRaw('00 01')
    expect(heard).toHaveLength(2)
    expect(heard[1]).toEqual(Uint8Array.of(0, 1))
  })
})
