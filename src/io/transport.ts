/** Transport: the few methods that anything carrying bytes both ways must have. Sockets, TLS, memory, WebSocket. */

/** Where a transport delivers what happens to it. Never called from inside `start`, `write` or `destroy`. */
export interface TransportSink {
  /** Bytes arrived. They are the sink's from now on: the transport never reuses them. */
  data(bytes: Uint8Array): void
  /** `write` may be called again after it returned false. */
  drain(): void
  /**
   * Nothing more will arrive; with an error when the transport broke. Called once. Where `end` of the transport was
   * called first, this means that all is over: what was written has left, or never will.
   */
  end(error?: Error): void
  /** All is over, both ways: nothing is left to drop. Behind `end`, from transports that can tell. */
  over?(): void
}

/** A bidirectional stream of bytes, in order, without message boundaries. */
export interface Transport {
  /** `host:port` of the peer, for people; `undefined` where that says nothing. */
  readonly remoteAddress?: string | undefined
  /** DER of the certificate that the peer showed, where there is TLS and it showed one. */
  readonly peerCertificate?: Uint8Array | undefined
  /** Begins delivery. Called once, before anything else. */
  start(sink: TransportSink): void
  /**
   * Sends the chunks in order. They must not change until they are sent.
   * @returns false when the transport has enough for now: wait for `drain`
   */
  write(chunks: readonly Uint8Array[]): boolean
  /** Ends the sending direction after what was written. */
  end(): void
  /** Drops everything at once. `end` of the sink follows if it has not been called. */
  destroy(error?: Error): void
  /**
   * Stops delivering data, as far as that is possible, until `resume`. Called when the peer does not read what it is
   * answered; without it a peer can fill this end's memory.
   */
  pause?(): void
  /** Delivers again. */
  resume?(): void
}
