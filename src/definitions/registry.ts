/** Which composite a descriptor names, where a frame body is expected. §1.5 §2.3.2 */

import { type Archetype, archetype } from '../types/composite.ts'
import {
  attach,
  begin,
  close,
  detach,
  disposition,
  end,
  flow,
  open,
  type Performative,
  transfer,
} from './performatives.ts'

/** The bodies that an AMQP frame may have. §2.7 */
export const frameBody: Archetype<Performative> = /* @__PURE__ */ archetype<Performative>('performative', [
  open,
  begin,
  attach,
  flow,
  transfer,
  disposition,
  detach,
  end,
  close,
])
