/**
 * The links on which a node of an emulated hub answers requests. An answer waits until there is a link for it; which
 * one that is, the request's reply-to and session say. Facts: spec-notes/cbs.md
 */

import type { Delivery, Receiver, Sender, Session } from '../../client/api.ts'
import type { MessageInit } from '../../message/message.ts'

/** An answer, and where its request came from. */
export interface AddressedAnswer {
  readonly session: Session
  readonly replyTo: string | undefined
  readonly message: MessageInit
}

/** Answers that may wait for a link; as many as requests may be sent without waiting. */
const MAX_HELD = 100

/** Serves the requests of a link until it ends, one after the other. */
export async function serveEach(receiver: Receiver, serve: (delivery: Delivery) => Promise<void>): Promise<void> {
  try {
    for await (const delivery of receiver) await serve(delivery)
  } catch {
    // The link has ended, and with it what there was to do.
  }
}

/** The links of one node, on one connection. */
export class AnswerLinks {
  #links: Sender[] = []
  #held: AddressedAnswer[] = []
  #lastTag = 0

  /** Sends answers on a link until it ends. */
  add(sender: Sender): void {
    this.#links.push(sender)
    void sender.closed.then(() => {
      this.#links = this.#links.filter(link => link !== sender)
    })
    const held = this.#held
    this.#held = []
    for (const answer of held) this.send(answer)
  }

  /** Sends an answer as soon as there is a link, and credit, for it. */
  send(answer: AddressedAnswer): void {
    const link = this.#linkFor(answer)
    if (link === undefined) {
      this.#held = [...this.#held, answer].slice(-MAX_HELD)
      return
    }
    this.#lastTag = (this.#lastTag + 1) >>> 0
    const deliveryTag = new Uint8Array(4)
    new DataView(deliveryTag.buffer).setUint32(0, this.#lastTag, true)
    // Nothing depends on the outcome; some clients settle an answer twice, others never.
    link.send(answer.message, { deliveryTag }).catch(() => {})
  }

  /** The link that the request names, else one of its session, else any: the newest of them. */
  #linkFor({ session, replyTo }: AddressedAnswer): Sender | undefined {
    const newestFirst = [...this.#links].reverse()
    return (
      newestFirst.find(link => link.session === session && link.target?.address === replyTo) ??
      newestFirst.find(link => link.session === session) ??
      newestFirst[0]
    )
  }
}
