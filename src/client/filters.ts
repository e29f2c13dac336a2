/**
 * Filters that brokers share, ready for `source.filter`: each function gives one named entry, and `{ ...a, ...b }` joins
 * them. Any other filter is a described value under a name of its own. §3.5.8
 *
 * The standard leaves filters to a registry; these are its Apache ones, which most brokers know.
 */

import { UsageError } from '../errors.ts'
import { AmqpMap } from '../types/map.ts'
import { type AmqpValue, Described, ulong } from '../types/values.ts'

/** A filter under its name. */
export type NamedFilter = Readonly<Record<string, Described>>

/** Vendor id 0x468C, filters numbered from 0; the name describes as well as the number. */
const DOMAIN = 0x468c_0000_0000n

const named = (name: string, code: bigint, value: AmqpValue): NamedFilter => ({
  [name]: new Described(ulong(DOMAIN + code), value),
})

function text(what: string, value: unknown): string {
  if (typeof value !== 'string' || value === '') throw new UsageError(`a ${what} is a text of one character or more`)
  return value
}

/** Filters for `source.filter`. */
export const filters: {
  /** Messages that meet a condition in the selector language of JMS, e.g. `room = 'lab' AND retries < 3`. */
  selector(expression: string): NamedFilter
  /** Messages whose subject is `key`: a direct exchange of AMQP 0-9-1. */
  directBinding(key: string): NamedFilter
  /** Messages whose subject fits `pattern`, of words between dots, `*` for one and `#` for any number: a topic exchange. */
  topicBinding(pattern: string): NamedFilter
  /** Messages with these application properties; `x-match` says `all` or `any`: a headers exchange. */
  headersBinding(headers: Readonly<Record<string, AmqpValue>>): NamedFilter
  /** Messages that were not sent over the same connection. */
  noLocal(): NamedFilter
} = {
  selector: expression => named('apache.org:selector-filter:string', 4n, text('selector', expression)),
  directBinding: key => named('apache.org:legacy-amqp-direct-binding:string', 0n, text('binding', key)),
  topicBinding: pattern => named('apache.org:legacy-amqp-topic-binding:string', 1n, text('binding', pattern)),
  headersBinding: headers =>
    named('apache.org:legacy-amqp-headers-binding:map', 2n, new AmqpMap(Object.entries(headers))),
  noLocal: () => named('apache.org:no-local-filter:list', 3n, []),
}
