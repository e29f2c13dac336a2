/** The error composite that end, detach, close and rejected carry. §2.8.14 */

import {
  type Composite,
  composite,
  exact,
  fieldsField,
  mandatory,
  optional,
  stringField,
  symbolField,
} from '../types/composite.ts'
import type { AmqpMap } from '../types/map.ts'

/** Details of an error. §2.8.14 */
export interface ErrorValue {
  readonly type: 'error'
  /** What went wrong, e.g. `amqp:not-found`; see the constants in `errors.ts`. */
  readonly condition: string
  /** For people. */
  readonly description: string | undefined
  /** For programs. */
  readonly info: AmqpMap | undefined
}

/** The table of `ErrorValue`. §2.8.14 */
export const error: Composite<ErrorValue> = /* @__PURE__ */ composite<ErrorValue>({
  name: 'error',
  code: 0x1d,
  section: '2.8.14',
  fields: {
    condition: mandatory(symbolField),
    description: optional(stringField),
    info: optional(/* @__PURE__ */ exact(fieldsField)),
  },
})
