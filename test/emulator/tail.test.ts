import fc from 'fast-check'
import { expect, it } from 'vitest'
import { Tail } from '../../src/emulator/telemetry/tail.ts'

it('is what an array is', () => {
  fc.assert(
    fc.property(fc.array(fc.option(fc.integer(), { nil: undefined })), operations => {
      const tail = new Tail<number>()
      const array: number[] = []
      for (const value of operations) {
        if (value === undefined) expect(tail.shift()).toBe(array.shift())
        else {
          tail.push(value)
          array.push(value)
        }
        expect(tail.length).toBe(array.length)
        expect(array.map((_, index) => tail.at(index))).toEqual(array)
        expect(tail.at(array.length)).toBeUndefined()
      }
    }),
  )
})
