/** The wire profile: what each quirk changes in the bytes that leave, judged by a codec of its own. */

import { expect, test } from 'vitest'
import type { Listener } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import type { WireProfile } from '../../src/client/options.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { memoryPair } from '../../src/io/memory.ts'
import type { Transport } from '../../src/io/transport.ts'
import { read } from '../peer/composites.ts'
import { concat, parseFrames, type Wire } from '../peer/wire.ts'

/** Passes everything on, and keeps what was written. */
function recorded(transport: Transport): { transport: Transport; written: Uint8Array[] } {
  const written: Uint8Array[] = []
  return {
    written,
    transport: {
      start: sink => transport.start(sink),
      write: chunks => {
        written.push(...chunks.map(chunk => chunk.slice()))
        return transport.write(chunks)
      },
      end: () => transport.end(),
      destroy: error => transport.destroy(error),
    },
  }
}

function serve(listener: Listener, transport: Transport): void {
  void listener.accept(transport).then(connection =>
    connection.on('session', async incoming => {
      const session = await incoming.accept()
      session.on('link', link => void link.accept())
    }),
  )
}

/** The performatives that one end writes from its open to the flow of a receiver: how long each list is, and its fields. */
async function performatives(
  at: 'client' | 'server',
  wireProfile: WireProfile | undefined,
): Promise<Map<string, { length: number; fields: Record<string, Wire> }>> {
  const [near, far] = memoryPair()
  const { transport, written } = recorded(at === 'client' ? near : far)
  const capabilities = { offeredCapabilities: ['one'] }
  await using listener = await listen({ port: null, ...capabilities, ...(at === 'server' ? { wireProfile } : {}) })
  serve(listener, at === 'server' ? transport : far)
  const connection = await connect({
    host: 'h',
    transport: at === 'client' ? transport : near,
    sasl: false,
    ...capabilities,
    ...(at === 'client' ? { wireProfile } : {}),
  })
  const source = { address: 'q', capabilities: ['queue'], outcomes: ['amqp:accepted:list'] }
  // Whichever end is recorded has a receiver, and so sends a flow.
  if (at === 'client') await connection.receiver(source)
  else await connection.sender('q', { source })
  await connection.close()
  const found = new Map<string, { length: number; fields: Record<string, Wire> }>()
  for (const { performative } of parseFrames(concat(...written).slice(8)).frames) {
    const composite = performative && read(performative)
    if (!composite || found.has(composite.name)) continue
    found.set(composite.name, { length: lengthOf(performative), fields: composite.fields })
  }
  return found
}

function lengthOf(value: Wire | undefined): number {
  const list = value?.t === 'described' ? value.v.value : undefined
  return list?.t === 'list' ? list.v.length : Number.NaN
}

test.each(['client', 'server'] as const)('§1.4 without a profile the %s leaves off what it may', async at => {
  const written = await performatives(at, undefined)
  expect(written.get('end')?.length ?? written.get('close')?.length).toBe(0)
  expect(written.get('open')?.fields['offeredCapabilities']).toEqual({ t: 'symbol', v: 'one' })
  expect(written.get('flow')?.fields['nextIncomingId']?.t).toBe('uint')
})

test.each(['client', 'server'] as const)('§1.4 completePerformatives: every place is filled by the %s', async at => {
  const written = await performatives(at, { completePerformatives: true })
  const lengths = { open: 10, begin: 8, attach: 14, flow: 11, close: 1 }
  for (const [name, length] of Object.entries(lengths))
    expect([name, written.get(name)?.length]).toEqual([name, length])
  const { fields = {} } = written.get('attach') ?? {}
  expect([lengthOf(fields['source']), lengthOf(fields['target'])]).toEqual([11, 7])
  // Defaults are written, not only nulls in their places.
  expect(written.get('open')?.fields['channelMax']?.t).toBe('ushort')
  expect(fields['incompleteUnsettled']).toEqual({ t: 'boolean', v: false })
})

test.each(['client', 'server'] as const)(
  '§1.4 symbolArrays: arrays of one from the %s, also in a terminus',
  async at => {
    const written = await performatives(at, { symbolArrays: true })
    const one = (v: string) => ({ t: 'array', v: { of: 'symbol', descriptors: [], elements: [{ t: 'symbol', v }] } })
    expect(written.get('open')?.fields['offeredCapabilities']).toEqual(one('one'))
    const source = read(written.get('attach')?.fields['source'] as Wire)
    expect(source?.fields['capabilities']).toEqual(one('queue'))
    expect(source?.fields['outcomes']).toEqual(one('amqp:accepted:list'))
  },
)

test.each(['client', 'server'] as const)('§2.7.4 omitNextIncomingId: no flow of the %s has it', async at => {
  const written = await performatives(at, { omitNextIncomingId: true })
  const { fields = {} } = written.get('flow') ?? {}
  expect(fields['incomingWindow']?.t).toBe('uint')
  expect(fields['nextIncomingId'] ?? { t: 'null', v: null }).toEqual({ t: 'null', v: null })
})
