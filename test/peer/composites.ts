// Builders and a reader for the composites a scripted peer speaks (§2.7, §2.8.14, §3.2, §3.4, §3.5, §4.5, §5.3.3), on
// top of the naive codec. Fields carry the names of the standard in camelCase; a field left out is null, and
// trailing nulls are elided. Anything may also be given as a wire value, right or wrong: the types are not enforced.
import { decodeAll, nul, toHex, type Wire } from './wire.ts'

export type Field = Wire | Uint8Array | string | number | bigint | boolean | null | undefined | Field[] | Fields
export type Fields = { [name: string]: Field }

// code, name, then the fields as name:type, with a ! if mandatory. `symbols` is a symbol or an array of them, `id` a
// message-id, `map` is written with symbol keys.
const composites = `
10 open containerId!:string hostname:string maxFrameSize:uint channelMax:ushort idleTimeOut:uint outgoingLocales:symbols
   incomingLocales:symbols offeredCapabilities:symbols desiredCapabilities:symbols properties:map
11 begin remoteChannel:ushort nextOutgoingId!:uint incomingWindow!:uint outgoingWindow!:uint handleMax:uint
   offeredCapabilities:symbols desiredCapabilities:symbols properties:map
12 attach name!:string handle!:uint role!:role sndSettleMode:snd rcvSettleMode:rcv source:source target:target
   unsettled:map incompleteUnsettled:boolean initialDeliveryCount:uint maxMessageSize:ulong
   offeredCapabilities:symbols desiredCapabilities:symbols properties:map
13 flow nextIncomingId:uint incomingWindow!:uint nextOutgoingId!:uint outgoingWindow!:uint handle:uint deliveryCount:uint
   linkCredit:uint available:uint drain:boolean echo:boolean properties:map
14 transfer handle!:uint deliveryId:uint deliveryTag:binary messageFormat:uint settled:boolean more:boolean
   rcvSettleMode:rcv state:any resume:boolean aborted:boolean batchable:boolean
15 disposition role!:role first!:uint last:uint settled:boolean state:any batchable:boolean
16 detach handle!:uint closed:boolean error:error
17 end error:error
18 close error:error
1d error condition!:symbol description:string info:map
23 received sectionNumber!:uint sectionOffset!:ulong
24 accepted
25 rejected error:error
26 released
27 modified deliveryFailed:boolean undeliverableHere:boolean messageAnnotations:map
28 source address:string durable:uint expiryPolicy:symbol timeout:uint dynamic:boolean dynamicNodeProperties:map
   distributionMode:symbol filter:map defaultOutcome:any outcomes:symbols capabilities:symbols
29 target address:string durable:uint expiryPolicy:symbol timeout:uint dynamic:boolean dynamicNodeProperties:map
   capabilities:symbols
30 coordinator capabilities:symbols
31 declare globalId:any
32 discharge txnId!:binary fail:boolean
33 declared txnId!:binary
34 transactionalState txnId!:binary outcome:any
40 saslMechanisms saslServerMechanisms!:symbols
41 saslInit mechanism!:symbol initialResponse:binary hostname:string
42 saslChallenge challenge!:binary
43 saslResponse response!:binary
44 saslOutcome code!:ubyte additionalData:binary
70 header durable:boolean priority:ubyte ttl:uint firstAcquirer:boolean deliveryCount:uint
73 properties messageId:id userId:binary to:string subject:string replyTo:string correlationId:id
   contentType:symbol contentEncoding:symbol absoluteExpiryTime:timestamp creationTime:timestamp groupId:string
   groupSequence:uint replyToGroupId:string`
  .split(/\n(?! )/)
  .map(row => row.trim().split(/\s+/))
  .filter(row => row.length > 1)
  .map(([code = '', name = '', ...fields]) => ({
    code: BigInt(`0x${code}`),
    name,
    fields: fields
      .map(field => field.split(':'))
      .map(([name = '', type = '']) => ({ name: name.replace('!', ''), type, mandatory: name.endsWith('!') })),
  }))

const choices: Record<string, [type: string, names: readonly string[]]> = {
  role: ['boolean', ['sender', 'receiver']],
  snd: ['ubyte', ['unsettled', 'settled', 'mixed']],
  rcv: ['ubyte', ['first', 'second']],
}

/** The described list of a composite, by the name of its builder below. */
export function build(name: string, values: Fields = {}): Wire {
  const composite = composites.find(composite => composite.name === name)
  if (!composite) throw new Error(`no composite ${name}`)
  const unknown = Object.keys(values).find(key => !composite.fields.some(field => field.name === key))
  if (unknown !== undefined) throw new Error(`${name} has no field ${unknown}`)
  const v = composite.fields.map(field => toWire(field.type, values[field.name]))
  while (v.at(-1)?.t === 'null') v.pop()
  return { t: 'described', v: { descriptor: { t: 'ulong', v: composite.code }, value: { t: 'list', v } } }
}

function toWire(type: string, value: Field): Wire {
  if (value === null || value === undefined) return nul
  if (isWire(value)) return value
  const [t, names]: [string, readonly string[]] = choices[type] ?? [type, []]
  if (typeof value === 'string' && names.includes(value)) return plain(t, names.indexOf(value))
  if (type === 'symbols' && typeof value === 'string') return plain('symbol', value)
  if (type === 'symbols' && Array.isArray(value)) {
    return { t: 'array', v: { of: 'symbol', descriptors: [], elements: value.map(item => toWire('symbol', item)) } }
  }
  if (value instanceof Uint8Array) return { t: 'binary', v: toHex(value) }
  if (typeof value !== 'object') return plain(t, value)
  if (Array.isArray(value)) throw new Error(`an array for ${type}`)
  if (type !== 'map') return build(type, value)
  return { t: 'map', v: Object.entries(value).map(([key, item]) => [{ t: 'symbol', v: key }, toWire('any', item)]) }
}

/** A scalar as the type asked for. In an `any` position a string, boolean, number or bigint is string … int, long. */
function plain(type: string, value: string | number | bigint | boolean): Wire {
  const guesses: Record<string, string> = { string: 'string', boolean: 'boolean', number: 'int', bigint: 'long' }
  const t = type === 'any' || type === 'id' ? guesses[typeof value] : type
  if (t === 'boolean') return { t, v: Boolean(value) }
  const wide = t === 'ulong' || t === 'long' || t === 'timestamp'
  return { t, v: wide && typeof value === 'number' ? BigInt(value) : value } as Wire
}

function isWire(value: object | string | number | bigint | boolean): value is Wire {
  return typeof value === 'object' && 't' in value && 'v' in value
}

/** What `build` was given: the name and the fields which are not null, as wire values. Undefined if unknown. */
export function read(value: Wire): { name: string; fields: Record<string, Wire> } | undefined {
  if (value.t !== 'described' || value.v.value.t !== 'list') return undefined
  const { descriptor } = value.v
  const composite = composites.find(({ code, name }) =>
    descriptor.t === 'ulong' ? descriptor.v === code : descriptor.t === 'symbol' && descriptor.v === symbolOf(name),
  )
  const items = value.v.value.v.map((item, i) => [composite?.fields[i]?.name ?? `#${i}`, item] as const)
  return (
    composite && { name: composite.name, fields: Object.fromEntries(items.filter(([, item]) => item.t !== 'null')) }
  )
}

/** `saslInit` is `amqp:sasl-init:list`. */
function symbolOf(name: string): string {
  return `amqp:${name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)}:list`
}

/** Whether a composite this file knows has its mandatory fields, and each field its type. */
export function conforms(value: Wire): boolean {
  const known = read(value)
  const fields = composites.find(composite => composite.name === known?.name)?.fields ?? []
  return (
    known !== undefined &&
    fields.every(({ name, type, mandatory }) => {
      const field = known.fields[name]
      return field ? hasType(field, type, mandatory) : !mandatory
    })
  )
}

function hasType(value: Wire, type: string, mandatory: boolean): boolean {
  if (type === 'any') return true
  if (type === 'id') return ['ulong', 'uuid', 'binary', 'string'].includes(value.t)
  if (type === 'source' || type === 'target') return value.t === 'described'
  if (type === 'error') return read(value)?.name === type && conforms(value)
  if (type === 'symbols' && value.t === 'array') return value.v.of === 'symbol' && !(mandatory && !value.v.elements[0])
  return value.t === (type === 'symbols' ? 'symbol' : (choices[type]?.[0] ?? type))
}

const sections = new Map<bigint, string>([
  [0x70n, 'header'],
  [0x71n, 'delivery-annotations'],
  [0x72n, 'message-annotations'],
  [0x73n, 'properties'],
  [0x74n, 'application-properties'],
  [0x75n, 'data'],
  [0x76n, 'amqp-sequence'],
  [0x77n, 'amqp-value'],
  [0x78n, 'footer'],
])

/** The sections of a message by name (§3.2), each with what its descriptor describes. Order is not checked. */
export function parseMessage(bytes: Uint8Array): { name: string; value: Wire }[] {
  return decodeAll(bytes).map(section => {
    const descriptor = section.t === 'described' ? section.v.descriptor : nul
    const symbolic = descriptor.t === 'symbol' ? descriptor.v.split(':')[1] : undefined
    const name = descriptor.t === 'ulong' ? sections.get(descriptor.v) : symbolic
    if (section.t !== 'described' || !name) throw new Error('not a section of a message')
    return { name, value: section.v.value }
  })
}

const builder =
  (name: string) =>
  (fields: Fields = {}): Wire =>
    build(name, fields)

export const open = builder('open')
export const begin = builder('begin')
export const attach = builder('attach')
export const flow = builder('flow')
export const transfer = builder('transfer')
export const disposition = builder('disposition')
export const detach = builder('detach')
export const end = builder('end')
export const close = builder('close')
export const error = builder('error')
export const received = builder('received')
export const accepted = builder('accepted')
export const rejected = builder('rejected')
export const released = builder('released')
export const modified = builder('modified')
export const source = builder('source')
export const target = builder('target')
export const coordinator = builder('coordinator')
export const declare = builder('declare')
export const discharge = builder('discharge')
export const declared = builder('declared')
export const transactionalState = builder('transactionalState')
export const saslMechanisms = builder('saslMechanisms')
export const saslInit = builder('saslInit')
export const saslChallenge = builder('saslChallenge')
export const saslResponse = builder('saslResponse')
export const saslOutcome = builder('saslOutcome')
export const header = builder('header')
export const properties = builder('properties')
