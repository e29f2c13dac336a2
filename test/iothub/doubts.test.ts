/** How often a token may be of no use before nobody asks for another. */

import { expect, it } from 'vitest'
import { Doubts } from '../../src/iothub/credentials/doubts.ts'

it('who was never let in has one more try; who was, five', () => {
  const doubts = new Doubts(1000)
  expect(doubts.areEnough(0)).toBe(false)
  doubts.add(0)
  expect(doubts.areEnough(0)).toBe(true)
  doubts.clear()
  for (let i = 0; i < 5; i++) {
    expect(doubts.areEnough(i)).toBe(false)
    doubts.add(i)
  }
  expect(doubts.areEnough(5)).toBe(true)
})

it('doubts are over with time, counted from the last', () => {
  const doubts = new Doubts(1000)
  doubts.add(0)
  expect(doubts.areEnough(1000)).toBe(true)
  expect(doubts.areEnough(1001)).toBe(false)
  doubts.add(1001)
  expect(doubts.areEnough(1500)).toBe(true)
})
