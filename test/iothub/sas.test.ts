import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { UsageError } from '../../src/errors.ts'
import {
  createSasToken,
  isInScope,
  isSharedAccessKey,
  parseSasToken,
  type SasTokenInit,
  splitResource,
  verifySasToken,
} from '../../src/iothub/credentials/sas.ts'

const key = 'MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY='
const otherKey = 'ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA='
const se = 1_893_456_000
const expiresAt = new Date(se * 1000)
const now = expiresAt.getTime() - 3_600_000
const host = 'myhub.azure-devices.net'

const vectors = [
  [host, 'khSw3Hu42nfiGmvv0z8UfhaVjclOsrYKOsP3H0wMCJU='],
  [`${host}%2Fdevices%2Fdev1`, 'MLMb9mfGGKt00TL7mIqeMsK/9ViHgXLyY2kJs/BSm/M='],
  [`${host}%2fdevices%2fdev1`, '1HsygLjwjl/C+5MkgPBGyzihQepx9Em5hEXZ3o8k7hI='],
  [`${host}/devices/dev1`, 'HenFdM/DE+vK7Pk3+y/jZAJe6lpy5tBLFv1x9HbW+Fs='],
  [`${host}%2Fdevices%2Fdev1%2Fmodules%2Fmod1`, '/5aAET7149MkuqorgSzpJA6cvpvox9GNAQnyIYJXju4='],
] as const

/** A token signed by hand over `signed`, showing `shown`. */
function handMade(signed: string, shown = signed, expiry: number | string = se): string {
  const mac = createHmac('sha256', Buffer.from(key, 'base64')).update(`${signed}\n${expiry}`).digest('base64')
  return `SharedAccessSignature sr=${shown}&sig=${encodeURIComponent(mac)}&se=${expiry}`
}

describe('createSasToken', () => {
  it('makes the exact text of the Node SDK for a service', async () => {
    expect(await createSasToken({ resourceUri: host, key, keyName: 'service', expiresAt })).toBe(
      'SharedAccessSignature sr=myhub.azure-devices.net&sig=khSw3Hu42nfiGmvv0z8UfhaVjclOsrYKOsP3H0wMCJU%3D&skn=service&se=1893456000',
    )
  })

  it('makes the exact text of the Node SDK for a device', async () => {
    expect(await createSasToken({ resourceUri: `${host}/devices/dev1`, key, expiresAt })).toBe(
      'SharedAccessSignature sr=myhub.azure-devices.net%2Fdevices%2Fdev1&sig=MLMb9mfGGKt00TL7mIqeMsK%2F9ViHgXLyY2kJs%2FBSm%2FM%3D&se=1893456000',
    )
  })

  it('signs for a module', async () => {
    const token = await createSasToken({ resourceUri: `${host}/devices/dev1/modules/mod1`, key, expiresAt })
    expect(parseSasToken(token).signature).toBe('/5aAET7149MkuqorgSzpJA6cvpvox9GNAQnyIYJXju4=')
  })

  it('takes the key text itself under the Event Hubs rule', async () => {
    const resourceUri = 'sb://ns1.servicebus.windows.net/eh1'
    const parsed = parseSasToken(await createSasToken({ resourceUri, key, expiresAt, keyRule: 'eventhub' }))
    expect(parsed.srText).toBe('sb%3A%2F%2Fns1.servicebus.windows.net%2Feh1')
    expect(parsed.signature).toBe('mwa1kCfHVsp7J6m4nz4mso4/HtWdssV6aqidvFdajqg=')
  })

  it("escapes ! ' ( ) * in lower-case hex, as the Node SDK does", async () => {
    const token = await createSasToken({ resourceUri: "a!b'c(d)e*f", key, expiresAt })
    expect(parseSasToken(token).srText).toBe('a%21b%27c%28d%29e%2af')
  })

  it('keeps the port in sr and rounds the expiry down', async () => {
    const resourceUri = 'localhost:15671/devices/d'
    const parsed = parseSasToken(await createSasToken({ resourceUri, key, expiresAt: new Date(1999) }))
    expect(parsed).toMatchObject({ srText: 'localhost%3A15671%2Fdevices%2Fd', se: 1 })
  })

  it.each<[string, Partial<SasTokenInit>]>([
    ['an empty resource', { resourceUri: '' }],
    ['no expiry', { expiresAt: undefined as never }],
    ['a number for an expiry', { expiresAt: 5 as never }],
    ['no resource', { resourceUri: undefined as never }],
    ['no key', { key: undefined as never }],
    ['a date that is none', { expiresAt: new Date(Number.NaN) }],
    ['a date before 1970', { expiresAt: new Date(-1) }],
    ['a key that is not base64', { key: 'not-a-base64-key' }],
    ['a lone surrogate', { resourceUri: 'h/\ud800' }],
  ])('refuses %s without printing the key', async (_, change) => {
    const error = await createSasToken({ resourceUri: host, key, expiresAt, ...change }).catch((cause: Error) => cause)
    expect(error).toBeInstanceOf(UsageError)
    expect(String(error)).not.toContain(change.key ?? key)
  })
})

describe('parseSasToken', () => {
  it.each([
    'SharedAccessSignature sig=a%3d&se=10&skn=p&sr=h%2fdevices%2fd',
    'SharedAccessSignature sr=h%2fdevices%2fd&sig=a%3d&se=10&skn=p',
    '  SharedAccessSignature  sr=h%2fdevices%2fd&x=y&sig=a=&skn=p&se=10\n',
  ])('reads pairs in any order: %s', text => {
    expect(parseSasToken(text)).toEqual({
      sr: 'h/devices/d',
      srText: 'h%2fdevices%2fd',
      signature: 'a=',
      se: 10,
      expiresAt: new Date(10_000),
      skn: 'p',
    })
  })

  it('leaves a raw + and a stray % of an unencoded resource as they are', () => {
    expect(parseSasToken('SharedAccessSignature sr=h/devices/a+50%&sig=x&se=1')).toMatchObject({
      sr: 'h/devices/a+50%',
      skn: undefined,
    })
  })

  it.each([
    ['', 'SharedAccessSignature'],
    ['Bearer abc', 'SharedAccessSignature'],
    ['SharedAccessSignature', 'SharedAccessSignature'],
    ['SharedAccessSignature sr=a&sig=b&se=1 x', 'SharedAccessSignature'],
    ['SharedAccessSignature sig=SECRET&se=1', 'sr is missing'],
    ['SharedAccessSignature sr=&sig=SECRET&se=1', 'sr is missing'],
    ['SharedAccessSignature sr=a&se=1', 'sig is missing'],
    ['SharedAccessSignature sr=a&sig=SECRET', 'se is missing'],
    ['SharedAccessSignature sr=a&sig=SECRET&se=1&se=2', 'se is given twice'],
    ['SharedAccessSignature sr=a&sig=SECRET&se=-1', 'se is not a time'],
    ['SharedAccessSignature sr=a&sig=SECRET&se=1e3', 'se is not a time'],
    ['SharedAccessSignature sr=a&sig=SECRET&se=99999999999999', 'se is not a time'],
    ['SharedAccessSignature sr=a&sig=SECRET%&se=1', 'not percent-encoded'],
  ])('refuses %j', (text, message) => {
    expect(() => parseSasToken(text)).toThrow(UsageError)
    expect(() => parseSasToken(text)).toThrow(message)
    expect(() => parseSasToken(text)).not.toThrow('SECRET')
  })
})

describe('verifySasToken', () => {
  it.each(vectors)('accepts the vector for sr text %s', async (srText, signature) => {
    const text = `SharedAccessSignature sr=${srText}&sig=${encodeURIComponent(signature)}&se=${se}`
    expect(await verifySasToken(text, { key, now })).toMatchObject({ ok: true, token: { srText, signature } })
    expect(await verifySasToken(text, { key, now, keyRule: 'eventhub' })).toEqual({ ok: false, reason: 'signature' })
  })

  it('accepts the Event Hubs vector under its own rule only', async () => {
    const text = `SharedAccessSignature sr=sb%3A%2F%2Fns1.servicebus.windows.net%2Feh1&sig=mwa1kCfHVsp7J6m4nz4mso4%2FHtWdssV6aqidvFdajqg%3D&se=${se}`
    expect(await verifySasToken(text, { key, now, keyRule: 'eventhub' })).toMatchObject({ ok: true })
    expect(await verifySasToken(text, { key, now })).toEqual({ ok: false, reason: 'signature' })
  })

  it.each([
    ['lower-case hex', 'MLMb9mfGGKt00TL7mIqeMsK%2f9ViHgXLyY2kJs%2fBSm%2fM%3d'],
    ['slashes left raw', 'MLMb9mfGGKt00TL7mIqeMsK/9ViHgXLyY2kJs/BSm/M%3D'],
    ['nothing escaped', 'MLMb9mfGGKt00TL7mIqeMsK/9ViHgXLyY2kJs/BSm/M='],
  ])('accepts a sig with %s', async (_, sig) => {
    const text = `SharedAccessSignature sr=${host}%2Fdevices%2Fdev1&sig=${sig}&se=${se}`
    expect(await verifySasToken(text, { key, now })).toMatchObject({ ok: true })
  })

  it('says which of several keys signed', async () => {
    const text = handMade('h')
    expect(await verifySasToken(text, { keys: [otherKey, key], now })).toMatchObject({ ok: true, keyIndex: 1 })
    expect(await verifySasToken(text, { keys: [otherKey], now })).toEqual({ ok: false, reason: 'signature' })
    expect(await verifySasToken(text, { keys: [], now })).toEqual({ ok: false, reason: 'signature' })
  })

  it.each([
    ['h%2Fd%2Fa%2Ab', 'h/d/a*b'],
    ['h%2Fd%2Fa%2ab', 'h%2Fd%2Fa*b'],
    ['h%2fd%2fa*b', 'h%2Fd%2Fa%2Ab'],
    ['h%2fd%2fa%2ab', 'h%2Fd%2Fa%2Ab'],
    ['h%2Fd%2Fa*b', 'h/d/a*b'],
    ['h/d/a*b', 'h%2Fd%2Fa%2Ab'],
  ])('falls back to the known spellings: signed %s, received %s', async (signed, received) => {
    expect(await verifySasToken(handMade(signed, received), { key, now })).toMatchObject({ ok: true })
  })

  it('takes no spelling that names another resource', async () => {
    // 'h/a%41' signed means 'h/aA'; shown as 'h/a%2541' it would mean 'h/a%41'.
    expect(await verifySasToken(handMade('h/a%41'), { key, now })).toMatchObject({ ok: true, token: { sr: 'h/aA' } })
    expect(await verifySasToken(handMade('h/a%41', 'h/a%2541'), { key, now })).toEqual({
      ok: false,
      reason: 'signature',
    })
    expect(await verifySasToken(handMade('h/devices/dev1', 'h/devices/Dev1'), { key, now })).toMatchObject({
      ok: false,
    })
  })

  it('signs over the se text as it stands', async () => {
    expect(await verifySasToken(handMade('h', 'h', `00${se}`), { key, now })).toMatchObject({ ok: true })
    expect(await verifySasToken(handMade('h').replace(`se=${se}`, `se=0${se}`), { key, now })).toEqual({
      ok: false,
      reason: 'signature',
    })
  })

  it('allows 5 minutes of clock skew by default, to the millisecond', async () => {
    const text = handMade('h')
    const limit = expiresAt.getTime() + 300_000
    expect(await verifySasToken(text, { key, now: limit })).toMatchObject({ ok: true })
    expect(await verifySasToken(text, { key, now: limit + 1 })).toEqual({ ok: false, reason: 'expired' })
    expect(await verifySasToken(text, { key, now: expiresAt.getTime() + 1, skewMs: 0 })).toMatchObject({ ok: false })
  })

  it('says expired only of a token signed correctly', async () => {
    expect(await verifySasToken(handMade('h'), { key: otherKey, now: now * 2 })).toEqual({
      ok: false,
      reason: 'signature',
    })
  })

  it('looks at no more than 8192 characters', async () => {
    const padded = (length: number): string => `${handMade('h')}&x=`.padEnd(length, 'x')
    expect(await verifySasToken(padded(8192), { key, now })).toMatchObject({ ok: true })
    expect(await verifySasToken(padded(8193), { key, now })).toEqual({ ok: false, reason: 'malformed' })
    expect(() => parseSasToken(undefined as never)).toThrow(UsageError)
  })

  it('calls any other text malformed, and never throws for it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.string({ unit: 'binary' }), fc.string()), async text => {
        expect(await verifySasToken(text, { key, now })).toEqual({ ok: false, reason: 'malformed' })
      }),
    )
    const sr = fc.string({ unit: 'binary' }).map(text => text.replace(/[\s&]/g, '') || 'h')
    await fc.assert(
      fc.asyncProperty(sr, async shown => {
        const text = `SharedAccessSignature sr=${shown}&sig=a&se=1`
        expect(await verifySasToken(text, { key, now })).toEqual({ ok: false, reason: 'signature' })
      }),
    )
  })

  it('accepts what createSasToken made, for any resource', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'grapheme', minLength: 1 }), async resourceUri => {
        const text = await createSasToken({ resourceUri, key, keyName: 'p&q', expiresAt })
        const verdict = await verifySasToken(text, { key, now })
        expect(verdict).toMatchObject({ ok: true, token: { sr: resourceUri, skn: 'p&q' } })
      }),
    )
  })

  it('refuses a key that is not base64, and a negative skew', async () => {
    await expect(verifySasToken(handMade('h'), { key: '???', now })).rejects.toThrow(UsageError)
    await expect(verifySasToken(handMade('h'), { key, now, skewMs: -1 })).rejects.toThrow(UsageError)
  })
})

describe('isInScope', () => {
  it.each([
    ['h/a/b', 'h/a/b/c', true],
    ['h/a/b', 'h/a/b', true],
    ['h/a/b', 'h/a/bc', false],
    ['h/a/b', 'h/a', false],
    ['h', 'h/anything', true],
    ['h/', 'h/anything', true],
    ['h', 'hh/x', false],
    ['', 'h/x', false],
    ['HUB.example', 'hub.EXAMPLE/devices/d', true],
    ['localhost:15671/devices/d', 'localhost/devices/d/twin', true],
    ['sb://ns/eh', 'amqps://ns:5671/eh/ConsumerGroups/x', true],
    ['[::1]:5671/a', '[::1]/a', true],
    ['h/devices/dev1', 'h/devices/Dev1', false],
    ['h/Devices/dev1', 'h/devices/dev1/twin', true],
    ['h/devices/d/modules/m', 'h/devices/d/modules/M', false],
    ['h/devices/d/MODULES/m', 'h/devices/d/modules/m/twin', true],
    ['h/messages/deviceBound', 'h/messages/devicebound', true],
  ])('a token for %s covers %s: %s', (sr, resource, expected) => {
    expect(isInScope(sr, resource)).toBe(expected)
  })
})

it('splitResource takes a URI apart', () => {
  expect(splitResource('AMQPS://Host:5671/Devices/Dev1/Messages/Events/')).toEqual({
    host: 'host',
    segments: ['devices', 'Dev1', 'messages', 'events'],
  })
})

it('isSharedAccessKey knows padded base64', () => {
  expect(isSharedAccessKey(key)).toBe(true)
  for (const text of ['', 'abc', 'ab=c', 'ab-_', 'abcd====', ' abc']) expect(isSharedAccessKey(text)).toBe(false)
})
