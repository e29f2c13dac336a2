/** Sessions: taken from an iterator, refused, ended in every way, and a peer that does not answer. §2.5 */

import { describe, expect, test } from 'vitest'
import type { IncomingSession, Session } from '../../src/client/api.ts'
import { ClosedError, RemoteError, UsageError } from '../../src/errors.ts'
import { pause } from '../waiting.ts'
import { joined, settled } from './joined.ts'

describe('§2.5.1 what the peer begins', () => {
  test('iterated: sessions of a connection, links of a session; each loop ends with what carries it', async () => {
    await using ends = await joined({ onLink: null })
    const names: string[] = []
    const serving = (async () => {
      for await (const incoming of ends.far.incoming()) {
        const session = await incoming.accept()
        for await (const link of session.incoming()) {
          names.push(link.name)
          await link.accept()
        }
        names.push('session over')
      }
      return 'connection over'
    })()
    const session = await ends.near.session()
    await session.sender('q', { name: 'one' })
    await session.receiver('q', { name: 'two' })
    await session.end()
    await expect.poll(() => names).toEqual(['one', 'two', 'session over'])
    await ends.near.close()
    expect(await serving).toBe('connection over')
  })

  test('what came before anybody listened is handed to the listener', async () => {
    await using ends = await joined({ onLink: null })
    const taken: IncomingSession[] = []
    const beginning = ends.near.session()
    await pause(20)
    ends.far.on('session', incoming => taken.push(incoming))
    await expect.poll(() => taken.length).toBe(1)
    expect(taken[0]?.connection).toBe(ends.far)
    const far = (await taken[0]?.accept()) as Session
    const near = await beginning
    const attaching = near.sender('q', { name: 'early' })
    await pause(20)
    const links: string[] = []
    far.on('link', link => {
      links.push(link.name)
      return link.accept()
    })
    await attaching
    expect(links).toEqual(['early'])
    // Other events are none that anybody waits for.
    far.on('closed', () => {})
    ends.far.on('closed', () => {})
  })

  test('refused, twice: it begins and ends with the error, once', async () => {
    await using ends = await joined({ onLink: null })
    ends.far.on('session', incoming => {
      incoming.refuse({ condition: 'amqp:unauthorized-access', description: 'not you' })
      incoming.refuse({ condition: 'amqp:internal-error' })
    })
    for (const refused of [ends.near.session(), ends.near.sender('q')]) {
      const error = await settled(refused)
      expect(error).toBeInstanceOf(RemoteError)
      expect(error).toMatchObject({ condition: 'amqp:unauthorized-access', scope: 'session' })
      expect(String(error)).toMatch(/^RemoteError: session \d ended by peer: amqp:unauthorized-access \(not you\)$/)
    }
  })

  test('accepting what has ended is refused', async () => {
    await using ends = await joined({ onLink: null })
    const taken: IncomingSession[] = []
    ends.far.on('session', incoming => taken.push(incoming))
    const beginning = settled(ends.near.session())
    await expect.poll(() => taken.length).toBe(1)
    ends.cut()
    await beginning
    await ends.far.closed
    expect(await settled(taken[0]?.accept() as Promise<unknown>)).toBeInstanceOf(ClosedError)
  })

  test('options: window, handles and properties reach the peer; a link beyond the handles is refused here', async () => {
    await using ends = await joined({ onLink: null })
    ends.far.on('session', async incoming => (await incoming.accept({ handleMax: 0 })).on('link', l => l.accept()))
    const session = await ends.near.session({ incomingWindow: 10, properties: { a: 1 } })
    await session.sender('one')
    const error = await settled(session.sender('two'))
    expect(error).toBeInstanceOf(UsageError)
    expect(String(error)).toContain('handle')
  })
})

describe('§2.5.2 §2.5.4 ending', () => {
  test('by disposal, again, and with a signal that has fired', async () => {
    await using ends = await joined()
    let session: Session
    {
      await using one = await ends.near.session()
      session = one
      const signal = AbortSignal.abort(new Error('too late'))
      expect(await settled(one.end({ signal }))).toBe(signal.reason)
    }
    expect(await session.closed).toEqual({ by: 'local', error: undefined })
    await session.end()
    expect(await settled(session.sender('q'))).toBeInstanceOf(ClosedError)
    expect(await settled(ends.near.session({ signal: AbortSignal.abort('x') }))).toBe('x')
  })

  test('with an error: the peer has it, and its links end with it', async () => {
    await using ends = await joined()
    const session = await ends.near.session()
    const sender = await session.sender('q')
    await session.end({ error: { condition: 'a:b', description: 'why' } })
    expect(await sender.closed).toMatchObject({ by: 'local' })
    expect(await ends.sessions[0]?.closed).toMatchObject({ by: 'remote', error: { condition: 'a:b' } })
  })

  test('by both at once', async () => {
    await using ends = await joined()
    const session = await ends.near.session()
    await expect.poll(() => ends.sessions.length).toBe(1)
    await Promise.all([session.end(), session.end(), ends.sessions[0]?.end()])
    expect((await session.closed).error).toBeUndefined()
  })

  test('the peer ends it first, while ours waits for outcomes', async () => {
    await using ends = await joined({
      onLink: link => link.remoteRole === 'sender' && link.accept({ credit: 'manual' }),
    })
    const session = await ends.near.session()
    const sender = await session.sender('q')
    const send = settled(sender.send({ body: 'x' }))
    const ending = session.end()
    await ends.sessions[0]?.end({ error: { condition: 'a:b' } })
    await ending
    expect(await session.closed).toMatchObject({ by: 'remote', error: { condition: 'a:b' } })
    expect(await send).toMatchObject({ code: 'ERR_AMQP_CLOSED', condition: 'a:b' })
  })

  test('a peer that never answers is given up after closeMs', async () => {
    await using ends = await joined({ near: { limits: { closeMs: 40, settleMs: 5 } } })
    const session = await ends.near.session()
    const sender = await session.sender('q')
    ends.mute()
    await session.end()
    expect(await session.closed).toEqual({ by: 'local', error: undefined })
    expect(await sender.closed).toEqual({ by: 'local', error: undefined })
  })

  test('cancelling an end that waits', async () => {
    await using ends = await joined()
    const session = await ends.near.session()
    ends.mute()
    const controller = new AbortController()
    const ending = settled(session.end({ signal: controller.signal }))
    await pause(5)
    const why = new Error('no time')
    controller.abort(why)
    expect(await ending).toBe(why)
  })

  test('cancelling a begin that is not answered ends the session', async () => {
    await using ends = await joined({ onLink: null })
    const taken: IncomingSession[] = []
    ends.far.on('session', incoming => taken.push(incoming))
    const controller = new AbortController()
    const beginning = settled(ends.near.session({ signal: controller.signal }))
    await expect.poll(() => taken.length).toBe(1)
    const why = new Error('changed my mind')
    controller.abort(why)
    expect(await beginning).toBe(why)
    const far = await taken[0]?.accept()
    expect(await far?.closed).toMatchObject({ by: 'remote', error: undefined })
  })

  test('a session that ends while it is being begun: the promise says so', async () => {
    await using ends = await joined({ onLink: null })
    ends.far.on('session', () => {})
    const beginning = settled(ends.near.session())
    await pause(5)
    await settled(ends.far.close())
    const error = await beginning
    expect(error).toBeInstanceOf(ClosedError)
    expect(String(error)).toContain('while it was being begun')
  })

  test('the shared session is begun again after it has ended', async () => {
    await using ends = await joined()
    const one = await ends.near.sender('q')
    const same = await ends.near.receiver('q')
    expect(same.session).toBe(one.session)
    await one.session.end()
    const other = await ends.near.sender('q')
    expect(other.session).not.toBe(one.session)
  })
})

describe('the session of all links on the connection', () => {
  test('a signal gives up one who waits for its begin, and no other', async () => {
    await using ends = await joined({ onLink: null })
    const impatient = new AbortController()
    const reason = new Error('not for so long')
    const first = ends.near.sender('a', { signal: impatient.signal })
    const second = ends.near.sender('b', { signal: AbortSignal.timeout(10_000) })
    const third = ends.near.transaction({ signal: impatient.signal })
    const gone = Promise.all([settled(first), settled(third)])
    impatient.abort(reason)
    expect(await gone).toEqual([reason, reason])
    ends.far.on('session', async incoming => {
      const session = await incoming.accept()
      session.on('link', link => link.accept())
    })
    expect((await second).target).toMatchObject({ address: 'b' })
    // The signal that fired is of no further use; the session is.
    expect((await ends.near.receiver('c')).session).toBe((await second).session)
    ends.mute()
    const late = ends.near.session({ signal: AbortSignal.timeout(20) })
    expect(await settled(late)).toMatchObject({ name: 'TimeoutError' })
  })

  test('§2.6.1 a name that is in use is refused, on it and on another session', async () => {
    await using ends = await joined()
    const sender = await ends.near.sender('a', { name: 'n' })
    expect(await settled(ends.near.sender('b', { name: 'n' }))).toBeInstanceOf(UsageError)
    const session = await ends.near.session()
    expect(await settled(session.sender('b', { name: 'n' }))).toBeInstanceOf(UsageError)
    await sender.close()
    expect((await session.sender('b', { name: 'n' })).name).toBe('n')
  })
})
