/** Secrets that are handed out are used as any value, but do not end in a log with whatever has them in it. */

/**
 * A copy of an object that `util.inspect`, and so `console.log`, shows without its secrets. All else is as before: they are
 * read, spread and written as JSON.
 *
 * @param names  those of its properties that are secret
 */
export function hiding<T extends object>(value: T, ...names: readonly string[]): T {
  const copy = { ...value }
  const shown = { ...value, ...Object.fromEntries(names.filter(name => name in value).map(name => [name, '(secret)'])) }
  Object.defineProperty(copy, Symbol.for('nodejs.util.inspect.custom'), { value: () => shown })
  return copy
}
