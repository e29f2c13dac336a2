/** The link endpoint's states, derived from §2.6.3–6: the standard describes them and draws none. D-013 */

import type { Transitions } from './transitions.ts'

/**
 * Half-attached states say what has been sent or received last. `CLOSED` and `DETACHED` are where an endpoint ends: to
 * attach again, a new endpoint is made. `DISCARDING` is CLOSE_SENT after an error of ours. §2.6.5
 */
export type LinkState =
  | 'UNATTACHED'
  | 'ATTACH_SENT'
  | 'ATTACH_RCVD'
  | 'ATTACHED'
  | 'DETACH_SENT'
  | 'CLOSE_SENT'
  | 'DISCARDING'
  | 'DETACH_RCVD'
  | 'CLOSE_RCVD'
  | 'DETACHED'
  | 'CLOSED'

/** A detach with `closed` is CLOSE; CLOSE(ERROR) is one of ours that carries an error. */
export type LinkInput = 'S:ATTACH' | 'R:ATTACH' | 'S:DETACH' | 'R:DETACH' | 'S:CLOSE' | 'R:CLOSE' | 'S:CLOSE(ERROR)'

/**
 * §2.6.3–6. A detach may follow an attach before the answer has come (either way). When a closing and a plain detach
 * cross, the link is closed: the re-attach that §2.6.6 asks for is left out, since nothing of it is kept. D-014
 */
export const linkTransitions: Transitions<LinkState, LinkInput> = {
  UNATTACHED: { 'S:ATTACH': 'ATTACH_SENT', 'R:ATTACH': 'ATTACH_RCVD' },
  ATTACH_SENT: {
    'R:ATTACH': 'ATTACHED',
    'S:DETACH': 'DETACH_SENT',
    'S:CLOSE': 'CLOSE_SENT',
    'S:CLOSE(ERROR)': 'DISCARDING',
  },
  ATTACH_RCVD: { 'S:ATTACH': 'ATTACHED', 'R:DETACH': 'ATTACH_RCVD', 'R:CLOSE': 'ATTACH_RCVD' },
  ATTACHED: {
    'S:DETACH': 'DETACH_SENT',
    'S:CLOSE': 'CLOSE_SENT',
    'S:CLOSE(ERROR)': 'DISCARDING',
    'R:DETACH': 'DETACH_RCVD',
    'R:CLOSE': 'CLOSE_RCVD',
  },
  DETACH_SENT: { 'R:ATTACH': 'DETACH_SENT', 'R:DETACH': 'DETACHED', 'R:CLOSE': 'CLOSED' },
  CLOSE_SENT: { 'R:ATTACH': 'CLOSE_SENT', 'R:DETACH': 'CLOSED', 'R:CLOSE': 'CLOSED' },
  DISCARDING: { 'R:ATTACH': 'DISCARDING', 'R:DETACH': 'CLOSED', 'R:CLOSE': 'CLOSED' },
  DETACH_RCVD: { 'S:DETACH': 'DETACHED', 'S:CLOSE': 'CLOSED', 'S:CLOSE(ERROR)': 'CLOSED' },
  CLOSE_RCVD: { 'S:CLOSE': 'CLOSED', 'S:CLOSE(ERROR)': 'CLOSED' },
  DETACHED: {},
  CLOSED: {},
}
