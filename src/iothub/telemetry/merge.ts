/** Several async iterators as one: whatever has come first is given first, and no more than one item of each waits here. */

/** What one iterator has brought. */
interface Arrival<T> {
  readonly iterator: AsyncIterator<T>
  readonly result: IteratorResult<T> | undefined
  readonly error: unknown
}

/**
 * Gives the items of all iterators as they come, in the order of each. Ends when all have ended.
 *
 * Leaving the loop, and the error of any iterator, which is thrown on, call `return()` of all and wait for it: an
 * iterator that waits must be ended by `stop`.
 *
 * @param stop  has the iterators end what they wait for
 */
export async function* merge<T>(
  iterators: readonly AsyncIterator<T>[],
  stop: () => void,
): AsyncGenerator<T, undefined, undefined> {
  const arrivals: Arrival<T>[] = []
  let wake: (() => void) | undefined
  const arrive = (arrival: Arrival<T>): void => {
    arrivals.push(arrival)
    wake?.()
  }
  const ask = (iterator: AsyncIterator<T>): void => {
    iterator.next().then(
      result => arrive({ iterator, result, error: undefined }),
      error => arrive({ iterator, result: undefined, error }),
    )
  }
  for (const iterator of iterators) ask(iterator)
  try {
    for (let running = iterators.length; running > 0; ) {
      const arrival = arrivals.shift()
      if (arrival === undefined) {
        await new Promise<void>(resolve => {
          wake = resolve
        })
        continue
      }
      const { iterator, result, error } = arrival
      if (result === undefined) throw error
      if (result.done) {
        running--
      } else {
        yield result.value
        ask(iterator)
      }
    }
  } finally {
    stop()
    await Promise.allSettled(iterators.map(iterator => iterator.return?.()))
  }
}
