/**
 * The golden SASL exchanges (§5.3) played against the engine, as client and as server: the peer's bytes are those of
 * the vectors, and ours must be. What the vectors leave to the end that we play is taken from them.
 */

import { describe, expect, test } from 'vitest'
import type { SaslCode } from '../../src/definitions/sasl.ts'
import { Engine } from '../../src/engine/engine.ts'
import type { EngineEvent } from '../../src/engine/events.ts'
import { read } from '../peer/composites.ts'
import { concat, fromHex, toHex, type Wire } from '../peer/wire.ts'
import { fromJson, loadVectors, type SaslVector } from '../vectors/load.ts'

type Step = SaslVector['steps'][number]
type Role = 'client' | 'server'

const textOf = (wire: Wire | undefined): string | undefined => (typeof wire?.v === 'string' ? wire.v : undefined)
const bytesOf = (wire: Wire | undefined): Uint8Array | undefined => (wire?.t === 'binary' ? fromHex(wire.v) : undefined)
const symbolsOf = (wire: Wire | undefined): string[] =>
  wire?.t === 'array' ? wire.v.elements.map(({ v }) => String(v)) : wire ? [String(wire.v)] : []
const CODES: SaslCode[] = ['ok', 'auth', 'sys', 'sys-perm', 'sys-temp']

/** The name and fields of a step that is a frame. */
function frameOf(step: Step): { name: string; fields: Record<string, Wire> } {
  const found = step.value && read(fromJson(step.value))
  if (!found) throw new Error('not a SASL frame')
  return found
}

const stepsOf = (vector: SaslVector, from: Role): Step[] => vector.steps.filter(step => step.from === from)

function events(engine: Engine): EngineEvent[] {
  const seen: EngineEvent[] = []
  for (let event = engine.nextEvent(); event; event = engine.nextEvent()) seen.push(event)
  return seen
}

/** Sends what a step of ours says. */
function say(engine: Engine, step: Step): void {
  const { name, fields } = frameOf(step)
  const sasl = engine.sasl
  if (!sasl) throw new Error('no SASL layer')
  if (name === 'saslInit')
    sasl.init(textOf(fields['mechanism']) ?? '', bytesOf(fields['initialResponse']), textOf(fields['hostname']))
  else if (name === 'saslResponse') sasl.respond(bytesOf(fields['response']) ?? new Uint8Array())
  else if (name === 'saslChallenge') sasl.challenge(bytesOf(fields['challenge']) ?? new Uint8Array())
  else if (name === 'saslOutcome')
    sasl.outcome(CODES[Number(fields['code']?.v)] as SaslCode, bytesOf(fields['additionalData']))
  else throw new Error(`${name} is not ours to say`)
}

/** The event that a step of the peer's must bring. */
function eventOf(step: Step): object {
  const { name, fields } = frameOf(step)
  switch (name) {
    case 'saslMechanisms':
      return { type: 'sasl.mechanisms', mechanisms: symbolsOf(fields['saslServerMechanisms']) }
    case 'saslInit':
      return {
        type: 'sasl.init',
        mechanism: textOf(fields['mechanism']),
        initialResponse: bytesOf(fields['initialResponse']),
        hostname: textOf(fields['hostname']),
      }
    case 'saslChallenge':
      return { type: 'sasl.challenge', challenge: bytesOf(fields['challenge']) }
    case 'saslResponse':
      return { type: 'sasl.response', response: bytesOf(fields['response']) }
    default:
      return {
        type: 'sasl.outcome',
        code: CODES[Number(fields['code']?.v)],
        additionalData: bytesOf(fields['additionalData']),
      }
  }
}

/** An engine for one end of an exchange; a server that requires SASL, with the mechanisms of the vector. */
function engineFor(role: Role, vector: SaslVector): Engine {
  if (role === 'client') {
    const engine = new Engine({ sasl: 'client' })
    engine.connection.open({ containerId: 'c' })
    return engine
  }
  const offered = vector.steps.find(step => step.value && frameOf(step).name === 'saslMechanisms')
  const mechanisms = offered ? symbolsOf(frameOf(offered).fields['saslServerMechanisms']) : ['PLAIN']
  return new Engine({ sasl: 'server', mechanisms, allowNoSasl: false })
}

const out = (engine: Engine): Uint8Array => concat(...engine.output(1 << 20, 0))

describe.each(['client', 'server'] as const)('§5.3.2 sasl.json, as %s', role => {
  // A client that begins without SASL, or does not wait for the offer, is a test of the server: ours does neither.
  const vectors = loadVectors('sasl').filter(
    ({ section, name }) => role === 'server' || (section !== '§2.2' && !name.includes('pipelined')),
  )

  test.each(vectors)('$section $name', vector => {
    const engine = engineFor(role, vector)
    const written: Uint8Array[] = [out(engine)]
    const expected: object[] = []
    const seen: EngineEvent[] = []
    for (const step of vector.steps) {
      if (step.from !== role) {
        engine.receive(step.bytes, 0)
        if (step.what === 'frame') expected.push(eventOf(step))
      } else if (step.what === 'frame' && frameOf(step).name !== 'saslMechanisms') say(engine, step)
      written.push(out(engine))
      seen.push(...events(engine))
    }
    const ours = concat(...stepsOf(vector, role).map(step => step.bytes))
    const bytes = concat(...written)
    expect(toHex(bytes.slice(0, ours.length))).toBe(toHex(ours))
    const fromPeer = seen.filter(({ type }) => type.startsWith('sasl.'))
    expect(fromPeer).toEqual(expected)
    const ok = engine.sasl?.code === 'ok'
    // A refused client's transport is its owner's to drop; one that does not speak SASL is given up at once.
    expect(engine.isDone).toBe(vector.section === '§2.2')
    // Behind the AMQP header of a client comes its open; nothing else may follow.
    if (role === 'server' || !ok) expect(bytes).toHaveLength(ours.length)
  })

  test.each(vectors)('$section $name, byte by byte: the same', vector => {
    const engine = engineFor(role, vector)
    const written: Uint8Array[] = [out(engine)]
    for (const step of vector.steps) {
      if (step.from !== role) for (const byte of step.bytes) engine.receive(Uint8Array.of(byte), 0)
      else if (step.what === 'frame' && frameOf(step).name !== 'saslMechanisms') say(engine, step)
      written.push(out(engine))
    }
    const ours = concat(...stepsOf(vector, role).map(step => step.bytes))
    expect(toHex(concat(...written)).startsWith(toHex(ours))).toBe(true)
  })
})
