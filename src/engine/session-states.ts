/** The session's states. §2.5.5 */

import type { Transitions } from './transitions.ts'

/** §2.5.5; `UNMAPPED` before the first begin, `ENDED` where the figure returns to UNMAPPED: an endpoint is used once. */
export type SessionState =
  | 'UNMAPPED'
  | 'BEGIN_SENT'
  | 'BEGIN_RCVD'
  | 'MAPPED'
  | 'END_SENT'
  | 'END_RCVD'
  | 'DISCARDING'
  | 'ENDED'

/** The labels of the figure's arrows. */
export type SessionInput = 'S:BEGIN' | 'R:BEGIN' | 'S:END' | 'S:END(ERROR)' | 'R:END'

/**
 * §2.5.5. Two arrows that the figure lacks: an end sent before the peer's begin has come (BEGIN_SENT, S:END), where the
 * begin and the end are still awaited, and an end that follows the peer's begin before ours is sent (BEGIN_RCVD,
 * R:END), which is answered with begin and end. D-012
 */
export const sessionTransitions: Transitions<SessionState, SessionInput> = {
  UNMAPPED: { 'S:BEGIN': 'BEGIN_SENT', 'R:BEGIN': 'BEGIN_RCVD' },
  BEGIN_SENT: { 'R:BEGIN': 'MAPPED', 'S:END': 'END_SENT', 'S:END(ERROR)': 'DISCARDING' },
  BEGIN_RCVD: { 'S:BEGIN': 'MAPPED', 'R:END': 'BEGIN_RCVD' },
  MAPPED: { 'S:END': 'END_SENT', 'S:END(ERROR)': 'DISCARDING', 'R:END': 'END_RCVD' },
  // Whether the peer's end answers ours or was sent at the same time makes no difference. §2.5.3
  END_SENT: { 'R:END': 'ENDED', 'R:BEGIN': 'END_SENT' },
  END_RCVD: { 'S:END': 'ENDED', 'S:END(ERROR)': 'ENDED' },
  DISCARDING: { 'R:END': 'ENDED', 'R:BEGIN': 'DISCARDING' },
  ENDED: {},
}
