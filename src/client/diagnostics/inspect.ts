/** What Node's console shows of the objects that users hold: a few words in place of everything beneath. */

/** Node's console calls a method of this name. */
const INSPECT = Symbol.for('nodejs.util.inspect.custom')

type Inspect = (value: unknown, options: object) => string

/** Makes the console show instances of a class as `name { … }`, with what `fields` gives, which holds no secrets. */
export function inspectAs<T extends object>(prototype: T, name: string, fields: (of: T) => object): void {
  Object.defineProperty(prototype, INSPECT, {
    value(this: T, _depth: number, options: object, inspect: Inspect) {
      // Of the prototype itself there is nothing to tell.
      if (this === prototype) return name
      return `${name} ${inspect(fields(this), { ...options, compact: true, breakLength: Number.POSITIVE_INFINITY })}`
    },
  })
}
