/** The one door from the emulator to the transports of `io/`: a linked pair in memory, for peers in this process. */

import { memoryPair } from '../../io/memory.ts'
import type { Transport } from '../../io/transport.ts'

/** Two transports; what is written to one arrives at the other. */
export function memoryTransportPair(): readonly [Transport, Transport] {
  return memoryPair()
}

/** A transport like the given one, over which the peer has shown a certificate, DER. @param remoteAddress  of the peer */
export function showing(
  transport: Transport,
  peerCertificate: Uint8Array | undefined,
  remoteAddress: string | undefined = transport.remoteAddress,
): Transport {
  return {
    remoteAddress,
    peerCertificate,
    start: sink => transport.start(sink),
    write: chunks => transport.write(chunks),
    end: () => transport.end(),
    destroy: error => transport.destroy(error),
    pause: () => transport.pause?.(),
    resume: () => transport.resume?.(),
  }
}
