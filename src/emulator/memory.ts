/** The one door from the emulator to the transports of `io/`: a linked pair in memory, for peers in this process. */

import { memoryPair } from '../io/memory.ts'
import type { Transport } from '../io/transport.ts'

/** Two transports; what is written to one arrives at the other. */
export function memoryTransportPair(): readonly [Transport, Transport] {
  return memoryPair()
}
