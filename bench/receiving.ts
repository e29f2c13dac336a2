/** The receiving end of the client cases: takes every link, reads every body, and tells when enough have come. */

import type { Connection, Receiver } from '../src/client/api.ts'

/** What came since it was last asked. */
export interface Received {
  /** Sum over the bodies' lengths and last bytes: the same in any order. */
  readonly checksum: number
}

export class Receiving {
  readonly #window: number
  #count = 0
  #checksum = 0
  #target = Number.POSITIVE_INFINITY
  #done: ((received: Received) => void) | undefined

  /** @param window  credit that each link keeps open */
  constructor(window: number) {
    this.#window = window
  }

  /** Takes the sessions of a connection and the links that send to us. */
  take(connection: Connection): void {
    connection.on('session', async incoming => {
      const session = await incoming.accept()
      session.on('link', async link => {
        if (link.remoteRole === 'sender') await this.#receive(await link.accept({ credit: { window: this.#window } }))
      })
    })
  }

  /** Waits until `count` messages have come since the last time. */
  next(count: number): Promise<Received> {
    this.#target = count
    return new Promise(resolve => {
      this.#done = resolve
      this.#check()
    })
  }

  async #receive(receiver: Receiver): Promise<void> {
    for await (const delivery of receiver) {
      const body = delivery.message.body as Uint8Array
      this.#checksum = (this.#checksum + body.length + (body[body.length - 1] as number)) | 0
      this.#count++
      await delivery.accept()
      if (this.#count >= this.#target) this.#check()
    }
  }

  #check(): void {
    if (this.#count < this.#target || !this.#done) return
    const checksum = this.#checksum
    this.#count = 0
    this.#checksum = 0
    this.#target = Number.POSITIVE_INFINITY
    this.#done({ checksum })
    this.#done = undefined
  }
}
