import { expect, it } from 'vitest'
import { PartitionReaders } from '../../src/emulator/telemetry/partition-readers.ts'

const ok = (...evicted: string[]) => ({ ok: true, evicted })
const refused = (condition: string) => ({ ok: false, error: { condition } })

it('five share; the sixth waits for one to leave', () => {
  const readers = new PartitionReaders<string>()
  for (const name of 'abcde') expect(readers.admit(name, undefined)).toEqual(ok())
  expect(readers.admit('f', undefined)).toMatchObject(refused('amqp:resource-limit-exceeded'))
  readers.leave('c')
  expect(readers.admit('f', undefined)).toEqual(ok())
})

it('an owner evicts those who share, and owners up to its level', () => {
  const readers = new PartitionReaders<string>()
  for (const name of 'ab') readers.admit(name, undefined)
  expect(readers.admit('c', 0n)).toEqual(ok('a', 'b'))
  expect(readers.admit('d', 0n)).toEqual(ok('c'))
  expect(readers.admit('e', 9n)).toEqual(ok('d'))
  expect(readers.admit('f', 8n)).toMatchObject(refused('amqp:link:stolen'))
  expect(readers.admit('g', undefined)).toMatchObject(refused('amqp:link:stolen'))
  readers.leave('d')
  expect(readers.admit('g', undefined)).toMatchObject(refused('amqp:link:stolen'))
  readers.leave('e')
  expect(readers.admit('g', undefined)).toEqual(ok())
  expect(readers.admit('h', 0n)).toEqual(ok('g'))
})
