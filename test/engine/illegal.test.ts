/**
 * Illegal inputs (§2.4.7, §2.5.5, §2.6.3–6), in every state an endpoint can rest in. From us: `UsageError`, and the
 * engine goes on as a twin does on which the verb was never called. From the peer: one protocol error at the scope of
 * the machine, and no throw.
 */

import { describe, expect, test } from 'vitest'
import { Engine } from '../../src/engine/engine.ts'
import type { EngineEvent } from '../../src/engine/events.ts'
import type { SenderEndpoint } from '../../src/engine/sender-endpoint.ts'
import type { SessionEndpoint } from '../../src/engine/session-endpoint.ts'
import { UsageError } from '../../src/errors.ts'
import { attach, begin, close, detach, end, flow, open } from '../peer/composites.ts'
import { amqpHeader, concat, frame, toHex, type Wire } from '../peer/wire.ts'

/** One engine under test, its endpoints, and what it has written and told. */
class Bench {
  readonly engine = new Engine()
  session: SessionEndpoint = this.engine.connection.session()
  sender: SenderEndpoint | undefined
  readonly written: string[] = []
  readonly told: EngineEvent[] = []

  get connection() {
    return this.engine.connection
  }

  /** Lets the engine write and tell. */
  rest(): this {
    this.written.push(toHex(concat(...this.engine.output(1 << 20, 0))))
    for (let event = this.engine.nextEvent(); event; event = this.engine.nextEvent()) {
      this.told.push(event)
      if (event.type === 'session.begun' && event.session.initiated === 'remote') this.session = event.session
      if (event.type === 'link.attached' && event.link.role === 'sender') this.sender = event.link
    }
    return this
  }

  /** The peer's frames, on its channel 3 unless they are the connection's. */
  peer(...performatives: Wire[]): this {
    for (const body of performatives) {
      const code = body.t === 'described' ? body.v.descriptor.v : undefined
      this.engine.receive(frame(code === 0x10n || code === 0x18n ? 0 : 3, body), 0)
    }
    return this.rest()
  }

  header(): this {
    this.engine.receive(amqpHeader, 0)
    return this.rest()
  }

  do(verb: (bench: this) => void): this {
    verb(this)
    return this.rest()
  }

  /** Protocol errors so far, as `scope condition`. */
  get faults(): string[] {
    return this.told.flatMap(event =>
      event.type === 'protocol.error' ? [`${event.error.scope} ${event.error.condition}`] : [],
    )
  }
}

const theirOpen = open({ containerId: 'peer' })
const theirBegin = begin({ remoteChannel: 0, nextOutgoingId: 0, incomingWindow: 100, outgoingWindow: 100 })
const newBegin = begin({ nextOutgoingId: 0, incomingWindow: 100, outgoingWindow: 100 })
const theirAttach = attach({ name: 'l', handle: 5, role: 'receiver', source: {}, target: {} })
const theirFlow = flow({ nextIncomingId: 0, incomingWindow: 100, nextOutgoingId: 0, outgoingWindow: 100 })
const linkFlow = flow({ incomingWindow: 100, nextOutgoingId: 0, outgoingWindow: 100, handle: 5, linkCredit: 1 })
const error = { condition: 'amqp:internal-error' }
const OPEN = { containerId: 'us' }

/** Each state, and how it is come by. */
const connections: Record<string, () => Bench> = {
  START: () => new Bench(),
  HDR_SENT: () => new Bench().do(b => b.connection.open(OPEN)),
  HDR_EXCH: () => new Bench().header(),
  OPEN_RCVD: () => new Bench().header().peer(theirOpen),
  OPEN_SENT: () => new Bench().do(b => b.connection.open(OPEN)).header(),
  OPENED: () =>
    new Bench()
      .do(b => b.connection.open(OPEN))
      .header()
      .peer(theirOpen),
  CLOSE_PIPE: () => connected('OPEN_SENT').do(b => b.connection.close()),
  CLOSE_SENT: () => connected('OPENED').do(b => b.connection.close()),
  DISCARDING: () => connected('OPENED').do(b => b.connection.close(error)),
  END: () => connected('CLOSE_SENT').peer(close()),
}

const sessions: Record<string, () => Bench> = {
  UNMAPPED: () => connected('OPENED'),
  BEGIN_SENT: () => connected('OPENED').do(b => b.session.begin()),
  BEGIN_RCVD: () => connected('OPENED').peer(newBegin),
  MAPPED: () =>
    connected('OPENED')
      .do(b => b.session.begin())
      .peer(theirBegin),
  END_SENT: () => mapped('MAPPED').do(b => b.session.end()),
  DISCARDING: () => mapped('MAPPED').do(b => b.session.end(error)),
  ENDED: () => mapped('END_SENT').peer(end()),
}

const links: Record<string, () => Bench> = {
  UNATTACHED: () =>
    mapped('MAPPED').do(b => {
      b.sender = b.session.sender('l')
    }),
  ATTACH_SENT: () => linked('UNATTACHED').do(b => b.sender?.attach({})),
  ATTACH_RCVD: () => mapped('MAPPED').peer(theirAttach),
  ATTACHED: () => linked('ATTACH_SENT').peer(theirAttach),
  DETACH_SENT: () => linked('ATTACHED').do(b => b.sender?.detach()),
  CLOSE_SENT: () => linked('ATTACHED').do(b => b.sender?.close()),
  DISCARDING: () => linked('ATTACHED').do(b => b.sender?.close(error)),
  DETACHED: () => linked('DETACH_SENT').peer(detach({ handle: 5 })),
  CLOSED: () => linked('CLOSE_SENT').peer(detach({ handle: 5, closed: true })),
}

const made = (states: Record<string, () => Bench>, state: string): Bench => states[state]?.() ?? new Bench()
const connected = (state: string): Bench => made(connections, state)
const mapped = (state: string): Bench => made(sessions, state)
const linked = (state: string): Bench => made(links, state)

interface Machine {
  states: Record<string, () => Bench>
  stateOf(bench: Bench): string | undefined
  /** Verb → the states in which it is legal. */
  verbs: Record<string, [verb: (bench: Bench) => void, legal: string]>
  /** What the peer does next in any state, to show how the engine goes on. */
  goOn: Wire[]
}

const machines: Record<string, Machine> = {
  '§2.4.7 connection': {
    states: connections,
    stateOf: b => b.connection.state,
    verbs: {
      open: [b => b.connection.open(OPEN), 'START HDR_EXCH OPEN_RCVD'],
      'open with 511 bytes of max-frame-size': [b => b.connection.open({ ...OPEN, maxFrameSize: 511 }), ''],
      // What has not been opened cannot be closed, and nothing is closed twice.
      close: [b => b.connection.close(), 'HDR_SENT OPEN_SENT OPENED'],
    },
    goOn: [theirOpen, newBegin, close()],
  },
  '§2.5.5 session': {
    states: sessions,
    stateOf: b => b.session.state,
    verbs: {
      begin: [b => b.session.begin(), 'UNMAPPED BEGIN_RCVD'],
      end: [b => b.session.end(), 'BEGIN_SENT MAPPED'],
      'end with an error': [b => b.session.end(error), 'BEGIN_SENT MAPPED'],
    },
    goOn: [theirFlow, close()],
  },
  '§2.6.3–6 link': {
    states: links,
    stateOf: b => b.sender?.state,
    verbs: {
      attach: [b => b.sender?.attach({}), 'UNATTACHED ATTACH_RCVD'],
      detach: [b => b.sender?.detach(), 'ATTACH_SENT ATTACHED'],
      close: [b => b.sender?.close(), 'ATTACH_SENT ATTACHED'],
      'close with an error': [b => b.sender?.close(error), 'ATTACH_SENT ATTACHED'],
      transfer: [b => b.sender?.transfer(Uint8Array.of(1)), 'ATTACHED'],
    },
    goOn: [linkFlow, close()],
  },
}

describe.each(Object.entries(machines))('%s', (_name, { states, stateOf, verbs, goOn }) => {
  test.each(Object.keys(states))('%s is come by', state => {
    const bench = made(states, state)
    expect(stateOf(bench)).toBe(state)
    expect(bench.faults).toEqual([])
  })

  const cells = Object.keys(states).flatMap(state => Object.keys(verbs).map(verb => [state, verb] as const))

  test.each(cells)('%s, %s by us', (state, name) => {
    const [verb, legal] = verbs[name] ?? [() => undefined, '']
    const [bench, twin] = [made(states, state), made(states, state)]
    if (legal.split(' ').includes(state)) {
      expect(() => verb(bench)).not.toThrow()
      return
    }
    expect(() => verb(bench)).toThrow(UsageError)
    expect(stateOf(bench)).toBe(state)
    expect(bench.engine.hasOutput).toBe(twin.engine.hasOutput)
    for (const body of goOn) {
      bench.peer(body)
      twin.peer(body)
      expect(stateOf(bench)).toBe(stateOf(twin))
    }
    expect(bench.written).toEqual(twin.written)
    expect(bench.told.map(({ type }) => type)).toEqual(twin.told.map(({ type }) => type))
  })
})

describe('§2.4.6 §2.5.4 from the peer', () => {
  const NONE: string[] = []
  const cells: [machine: string, state: string, what: string, body: Wire, faults: string[]][] = [
    ['connection', 'HDR_EXCH', 'begin', newBegin, ['connection amqp:illegal-state']],
    ['connection', 'HDR_EXCH', 'close', close(), ['connection amqp:illegal-state']],
    ['connection', 'OPEN_RCVD', 'open', theirOpen, ['connection amqp:illegal-state']],
    ['connection', 'OPEN_RCVD', 'begin', newBegin, NONE],
    ['connection', 'OPEN_RCVD', 'close', close(), NONE],
    ['connection', 'OPEN_SENT', 'begin', newBegin, ['connection amqp:illegal-state']],
    ['connection', 'OPEN_SENT', 'close', close(), ['connection amqp:illegal-state']],
    ['connection', 'OPENED', 'open', theirOpen, ['connection amqp:illegal-state']],
    ['connection', 'OPENED', 'begin that answers nothing', theirBegin, ['connection amqp:not-allowed']],
    ['connection', 'OPENED', 'end of no session', end(), ['connection amqp:connection:framing-error']],
    ['connection', 'OPENED', 'close', close(), NONE],
    ['connection', 'CLOSE_SENT', 'begin', newBegin, NONE],
    ['connection', 'DISCARDING', 'begin that answers nothing', theirBegin, NONE],
    ['connection', 'DISCARDING', 'end of no session', end(), NONE],
    ['connection', 'DISCARDING', 'open', theirOpen, NONE],
    ['connection', 'END', 'open', theirOpen, NONE],
    ['session', 'BEGIN_SENT', 'flow', theirFlow, ['connection amqp:connection:framing-error']],
    ['session', 'BEGIN_RCVD', 'begin', newBegin, ['connection amqp:not-allowed']],
    ['session', 'BEGIN_RCVD', 'end', end(), NONE],
    ['session', 'MAPPED', 'begin', theirBegin, ['connection amqp:not-allowed']],
    ['session', 'MAPPED', 'open', theirOpen, ['connection amqp:illegal-state']],
    ['session', 'MAPPED', 'flow', theirFlow, NONE],
    ['session', 'MAPPED', 'flow for no link', linkFlow, ['session amqp:session:unattached-handle']],
    ['session', 'MAPPED', 'detach of no link', detach({ handle: 5 }), ['session amqp:session:unattached-handle']],
    ['session', 'END_SENT', 'flow for no link', linkFlow, NONE],
    ['session', 'DISCARDING', 'detach of no link', detach({ handle: 5 }), NONE],
    ['session', 'ENDED', 'end', end(), ['connection amqp:connection:framing-error']],
    ['link', 'ATTACHED', 'attach, same handle', theirAttach, ['session amqp:session:handle-in-use']],
    ['link', 'ATTACHED', 'flow', linkFlow, NONE],
    ['link', 'ATTACH_SENT', 'detach', detach({ handle: 5 }), ['session amqp:session:unattached-handle']],
    ['link', 'DETACH_SENT', 'flow', linkFlow, NONE],
    ['link', 'CLOSE_SENT', 'flow', linkFlow, NONE],
    ['link', 'DETACHED', 'detach', detach({ handle: 5 }), ['session amqp:session:unattached-handle']],
    ['link', 'CLOSED', 'flow', linkFlow, ['session amqp:session:unattached-handle']],
  ]

  test.each(cells)('%s in %s: %s', (machine, state, _what, body, faults) => {
    const states = machine === 'connection' ? connections : machine === 'session' ? sessions : links
    const bench = made(states, state)
    bench.peer(body)
    expect(bench.faults).toEqual(faults)
    if (faults[0]?.startsWith('connection'))
      expect(bench.told.filter(({ type }) => type === 'connection.closed')).toHaveLength(1)
    if (faults[0]?.startsWith('session')) expect(bench.session.state).toBe('DISCARDING')
    // The first fault is the only one: whatever follows, nothing more is said.
    bench.peer(theirOpen, theirBegin, end(), close())
    if (faults[0]?.startsWith('connection')) expect(bench.faults).toEqual(faults)
  })
})
