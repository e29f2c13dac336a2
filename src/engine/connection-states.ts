/** The connection's states, as the two figures of the standard give them: transitions, and what is legal when. §2.4.6–7 */

import type { Transitions } from './transitions.ts'

/** The states of a connection endpoint. §2.4.6 */
export type ConnectionState =
  | 'START'
  | 'HDR_RCVD'
  | 'HDR_SENT'
  | 'HDR_EXCH'
  | 'OPEN_PIPE'
  | 'OC_PIPE'
  | 'OPEN_RCVD'
  | 'OPEN_SENT'
  | 'CLOSE_PIPE'
  | 'OPENED'
  | 'CLOSE_RCVD'
  | 'CLOSE_SENT'
  | 'DISCARDING'
  | 'END'

/** The labels of the figure's arrows; `S:CLOSE(ERROR)` is the close that an error triggers (the figure's footnote). */
export type ConnectionInput = 'R:HDR' | 'S:HDR' | 'R:OPEN' | 'S:OPEN' | 'R:CLOSE' | 'S:CLOSE' | 'S:CLOSE(ERROR)'

/**
 * §2.4.7, the state diagram. Where an error triggers the close before the peer's open has come, the state after it is
 * the same as for a plain close, with incoming frames discarded by what `legalReceives` allows there. D-010
 */
export const connectionTransitions: Transitions<ConnectionState, ConnectionInput> = {
  START: { 'R:HDR': 'HDR_RCVD', 'S:HDR': 'HDR_SENT' },
  HDR_RCVD: { 'S:HDR': 'HDR_EXCH' },
  HDR_SENT: { 'R:HDR': 'HDR_EXCH', 'S:OPEN': 'OPEN_PIPE' },
  HDR_EXCH: { 'R:OPEN': 'OPEN_RCVD', 'S:OPEN': 'OPEN_SENT' },
  OPEN_PIPE: { 'R:HDR': 'OPEN_SENT', 'S:CLOSE': 'OC_PIPE', 'S:CLOSE(ERROR)': 'OC_PIPE' },
  OC_PIPE: { 'R:HDR': 'CLOSE_PIPE' },
  // R:CLOSE: the peer pipelines open and close. D-011
  OPEN_RCVD: { 'S:OPEN': 'OPENED', 'R:CLOSE': 'OPEN_RCVD' },
  OPEN_SENT: { 'R:OPEN': 'OPENED', 'S:CLOSE': 'CLOSE_PIPE', 'S:CLOSE(ERROR)': 'DISCARDING' },
  CLOSE_PIPE: { 'R:OPEN': 'CLOSE_SENT' },
  OPENED: { 'R:CLOSE': 'CLOSE_RCVD', 'S:CLOSE': 'CLOSE_SENT', 'S:CLOSE(ERROR)': 'DISCARDING' },
  CLOSE_RCVD: { 'S:CLOSE': 'END', 'S:CLOSE(ERROR)': 'END' },
  // Whether the peer's close answers ours or was sent at the same time makes no difference. §2.4.4
  CLOSE_SENT: { 'R:CLOSE': 'END' },
  DISCARDING: { 'R:CLOSE': 'END', 'R:OPEN': 'DISCARDING' },
  END: {},
}

/** What the figure of §2.4.7 allows: one thing, any frames (`*`), frames known to fit (`**`), or nothing (`-`). */
export type Legal = 'HDR' | 'OPEN' | '*' | '**' | '-'

/** §2.4.7, "Legal Sends". */
export const legalSends: { readonly [state in ConnectionState]: Legal } = {
  START: 'HDR',
  HDR_RCVD: 'HDR',
  HDR_SENT: 'OPEN',
  HDR_EXCH: 'OPEN',
  OPEN_RCVD: 'OPEN',
  OPEN_SENT: '**',
  OPEN_PIPE: '**',
  CLOSE_PIPE: '-',
  OC_PIPE: '-',
  OPENED: '*',
  CLOSE_RCVD: '*',
  CLOSE_SENT: '-',
  DISCARDING: '-',
  END: '-',
}

/** §2.4.7, "Legal Receives". */
export const legalReceives: { readonly [state in ConnectionState]: Legal } = {
  START: 'HDR',
  HDR_RCVD: 'OPEN',
  HDR_SENT: 'HDR',
  HDR_EXCH: 'OPEN',
  OPEN_RCVD: '*',
  OPEN_SENT: 'OPEN',
  OPEN_PIPE: 'HDR',
  CLOSE_PIPE: 'OPEN',
  OC_PIPE: 'HDR',
  OPENED: '*',
  CLOSE_RCVD: '-',
  CLOSE_SENT: '*',
  DISCARDING: '*',
  END: '-',
}
