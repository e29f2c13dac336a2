/** JSON merge patches: the examples of RFC 7396, and what a peer may make of them. */

import { describe, expect, it } from 'vitest'
import { mergePatch } from '../../src/iothub/twins/merge-patch.ts'

describe('mergePatch', () => {
  it.each([
    [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
    [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
    [{ a: 'b' }, { a: null }, {}],
    [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
    [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
    [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
    [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
    [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: 'b', c: null }, { a: 'b' }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ])('%j with %j is %j', (target, patch, expected) => {
    const before = JSON.stringify([target, patch])
    expect(mergePatch(target, patch)).toEqual(expected)
    expect(JSON.stringify([target, patch])).toBe(before)
  })

  it('has no idea of __proto__', () => {
    const patch = JSON.parse('{"__proto__":{"x":1},"constructor":{"prototype":{"x":2}}}')
    const merged = mergePatch(mergePatch({}, patch), JSON.parse('{"__proto__":{"y":2}}'))
    expect(JSON.stringify(merged)).toBe('{"__proto__":{"x":1,"y":2},"constructor":{"prototype":{"x":2}}}')
    expect(({} as { x?: unknown }).x).toBeUndefined()
    expect(Object.getPrototypeOf(merged)).toBe(Object.prototype)
  })

  it('takes what is nested deeper than the stack', () => {
    const deep = JSON.parse(`${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`)
    let at: unknown = mergePatch({ a: { b: 1 } }, deep)
    let depth = 0
    for (; typeof at === 'object' && at !== null && 'a' in at; depth++) at = at.a
    expect(depth).toBe(100_000)
    expect(at).toBe(1)
  })
})
