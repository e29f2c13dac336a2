import { describe, expect, it } from 'vitest'
import { TwinDocument } from '../../src/emulator/twins/twin-document.ts'

const T0 = Date.parse('2024-01-01T00:00:00.000Z')
const at = (ms: number): string => new Date(T0 + ms).toISOString()

describe('a twin document', () => {
  it('begins at version 1, with the time of its making', () => {
    const twin = new TwinDocument(T0)
    expect(twin.forDevice()).toEqual({ desired: { $version: 1 }, reported: { $version: 1 } })
    expect(twin.forService()).toEqual({
      etag: 'AAAAAAAAAAE=',
      version: 2,
      tags: {},
      properties: {
        desired: { $metadata: { $lastUpdated: at(0), $lastUpdatedVersion: 1 }, $version: 1 },
        reported: { $metadata: { $lastUpdated: at(0) }, $version: 1 },
      },
    })
  })

  it('says of each level of the desired properties when and in which version it was set', () => {
    const twin = new TwinDocument(T0)
    expect(twin.patch({ desired: { a: { b: 1, c: [{ d: 1 }] }, e: 'x' } }, T0 + 1)).toEqual({ ok: true })
    expect(twin.patch({ desired: { a: { b: null }, e: 'y' } }, T0 + 2)).toEqual({ ok: true })
    const second = { $lastUpdated: at(2), $lastUpdatedVersion: 3 }
    expect(twin.forService().properties.desired).toEqual({
      a: { c: [{ d: 1 }] },
      e: 'y',
      $metadata: {
        ...second,
        a: { ...second, c: { $lastUpdated: at(1), $lastUpdatedVersion: 2 } },
        e: second,
      },
      $version: 3,
    })
  })

  it('says of reported properties only when', () => {
    const twin = new TwinDocument(T0)
    twin.patchReported({ a: { b: 1 } }, T0 + 1)
    twin.patchReported({ a: 2 }, T0 + 2)
    expect(twin.forService().properties.reported).toEqual({
      a: 2,
      $metadata: { $lastUpdated: at(2), a: { $lastUpdated: at(2) } },
      $version: 3,
    })
    twin.patchReported({ a: null }, T0 + 3)
    expect(twin.forService().properties.reported).toEqual({ $metadata: { $lastUpdated: at(3) }, $version: 4 })
  })

  it('has an etag of what back ends change, and a version of all properties', () => {
    const twin = new TwinDocument(T0)
    twin.patchReported({ a: 1 }, T0)
    expect(twin.forService()).toMatchObject({ etag: 'AAAAAAAAAAE=', version: 3 })
    twin.patch({ tags: { site: 'x', floor: { n: 1 } } }, T0)
    expect(twin.forService()).toMatchObject({ etag: 'AAAAAAAAAAI=', version: 3, tags: { site: 'x', floor: { n: 1 } } })
    twin.patch({ tags: { site: null }, desired: { a: 1 } }, T0, 'AAAAAAAAAAI=')
    expect(twin.forService()).toMatchObject({ etag: 'AAAAAAAAAAM=', version: 4, tags: { floor: { n: 1 } } })
    expect(twin.patch({ desired: { a: 2 } }, T0, 'AAAAAAAAAAI=')).toMatchObject({ ok: false, status: 412 })
    expect(twin.desiredVersion).toBe(2)
  })

  it('takes back what it gave: $version and $metadata are passed over', () => {
    const twin = new TwinDocument(T0)
    twin.patch({ desired: { a: 1 } }, T0)
    const { tags, properties } = twin.forService()
    expect(twin.patch({ tags, desired: properties.desired }, T0)).toEqual({ ok: true })
    expect(twin.forDevice()).toMatchObject({ desired: { a: 1, $version: 3 } })
    expect(twin.patchReported({ ...properties.reported, b: 1 }, T0)).toEqual({ ok: true })
    expect(twin.forDevice()).toMatchObject({ reported: { b: 1, $version: 2 } })
  })

  it('is changed all or not at all', () => {
    const twin = new TwinDocument(T0)
    expect(twin.patch({ tags: { a: 1 }, desired: { 'b.c': 1 } }, T0)).toMatchObject({ ok: false })
    expect(twin.patch({ tags: { 'b.c': 1 }, desired: { a: 1 } }, T0)).toMatchObject({ ok: false })
    expect(twin.forService()).toMatchObject({ etag: 'AAAAAAAAAAE=', version: 2, tags: {} })
  })
})

const nested = (levels: number): unknown => (levels === 0 ? 1 : { a: nested(levels - 1) })
const arrays = (levels: number): unknown => (levels === 0 ? 1 : [arrays(levels - 1)])

describe('the limits of a twin', () => {
  it.each<[string, unknown]>([
    ['ten levels below the properties', nested(11)],
    ['an array in an array', { a: arrays(2) }],
    ['a key of 1 KiB', { ['k'.repeat(1024)]: 1 }],
    ['a key of other letters', { 'ä/-_~': 1 }],
    ['a text of 4 KiB', { a: 'x'.repeat(4096) }],
    ['the largest integer', { a: 2 ** 52 - 1, b: -(2 ** 52) }],
    ['a large number that is no integer', { a: 1.5, b: 1e-300 }],
    ['true, false, null', { a: true, b: false, c: null }],
    ['32 KiB', full(0)],
  ])('%s is fine', (_, patch) => {
    expect(new TwinDocument(T0).patchReported(patch, T0)).toEqual({ ok: true })
  })

  it.each<[string, unknown, number]>([
    ['an array', [], 400],
    ['null', null, 400],
    ['a number', 5, 400],
    ['eleven levels', nested(12), 400],
    ['levels without end', nested(5000), 400],
    ['arrays without end', { a: arrays(5000) }, 400],
    ['an object in arrays too deep', { a: [nested(11)] }, 400],
    ['a key of more than 1 KiB', { ['ä'.repeat(513)]: 1 }, 400],
    ['a key with a dot', { 'a.b': 1 }, 400],
    ['a key with a $', { a: { $b: 1 } }, 400],
    ['a key with a blank', { a: [{ 'b c': 1 }] }, 400],
    ['a key with a control character', { 'a\u0085': 1 }, 400],
    ['a text of more than 4 KiB', { a: 'ä'.repeat(2049) }, 400],
    ['an integer too large', { a: 2 ** 52 }, 400],
    ['an integer too small', { a: -(2 ** 52) - 1 }, 400],
    ['more than 32 KiB', full(1), 413],
  ])('%s is refused, and changes nothing', (_, patch, status) => {
    const twin = new TwinDocument(T0)
    expect(twin.patchReported(patch, T0)).toMatchObject({ ok: false, status })
    expect(twin.patch({ desired: patch }, T0)).toMatchObject({ ok: false, status })
    expect(twin.forService()).toMatchObject({ etag: 'AAAAAAAAAAE=', version: 2 })
  })

  it('count what there would be, not what is sent', () => {
    const twin = new TwinDocument(T0)
    expect(twin.patchReported(full(0), T0)).toEqual({ ok: true })
    expect(twin.patchReported({ z: 1 }, T0)).toMatchObject({ ok: false, status: 413 })
    expect(twin.patchReported({ a: null, z: 1 }, T0)).toEqual({ ok: true })
  })

  it('are 8 KiB for tags; numbers are 8 bytes, booleans 4, control characters none', () => {
    const tags = (texts: number): object => ({
      a: 'x'.repeat(4096),
      b: 'x'.repeat(texts),
      n: 1,
      t: [true, null, '\n\t'],
    })
    // Keys a, b, n, t; a number; a boolean.
    const rest = 8192 - 4096 - 4 - 8 - 4
    expect(new TwinDocument(T0).patch({ tags: tags(rest) }, T0)).toEqual({ ok: true })
    expect(new TwinDocument(T0).patch({ tags: tags(rest + 1) }, T0)).toMatchObject({ ok: false, status: 413 })
  })
})

/** Properties of 32 KiB and `more` bytes. */
function full(more: number): object {
  const names = 'abcdefgh'.split('')
  const properties = Object.fromEntries(names.map(name => [name, 'x'.repeat(4095)]))
  return more === 0 ? properties : { ...properties, i: '' }
}
