type Event = 'uncaughtException' | 'unhandledRejection'

/** What would have ended the process, from now on until it is disposed; nobody else hears of it meanwhile. */
export function uncaught(): { readonly errors: unknown[] } & Disposable {
  const errors: unknown[] = []
  const take = (error: unknown) => errors.push(error)
  const events: Event[] = ['uncaughtException', 'unhandledRejection']
  const others = events.map(event => [event, process.rawListeners(event)] as const)
  for (const event of events) process.removeAllListeners(event).on(event, take)
  return {
    errors,
    [Symbol.dispose]() {
      for (const [event, listeners] of others) {
        process.off(event, take)
        for (const listener of listeners) process.on(event, listener as () => void)
      }
    },
  }
}
