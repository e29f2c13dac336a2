// From the wire notation of the scripted peer and the vectors to the values of src.
import { Decimal, Typed, Uuid } from '../../src/types/values.ts'
import { fromHex, type Wire } from '../peer/wire.ts'

/** A wire value as decodeTyped gives it. */
export function toTyped({ t, v }: Wire): Typed {
  switch (t) {
    case 'binary':
      return new Typed(t, fromHex(v))
    case 'uuid':
      return new Typed(t, new Uuid(fromHex(v)))
    case 'decimal32':
    case 'decimal64':
    case 'decimal128':
      return new Typed(t, new Decimal(fromHex(v)))
    case 'list':
      return new Typed(t, v.map(toTyped))
    case 'map':
      return new Typed(
        t,
        v.map(([key, value]) => [toTyped(key), toTyped(value)]),
      )
    case 'array':
      return new Typed(t, { of: v.of, descriptors: v.descriptors.map(toTyped), elements: v.elements.map(toTyped) })
    case 'described':
      return new Typed(t, { descriptor: toTyped(v.descriptor), value: toTyped(v.value) })
    default:
      return new Typed(t, v)
  }
}
