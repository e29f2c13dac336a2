/** The bodies of SASL frames. §5.3.3 */

import {
  type Archetype,
  archetype,
  binaryField,
  type Composite,
  composite,
  type FieldType,
  mandatory,
  mandatorySymbols,
  optional,
  stringField,
  symbolField,
  ubyteField,
} from '../types/composite.ts'

/** The outcome of authentication. §5.3.3.6 */
export type SaslCode = 'ok' | 'auth' | 'sys' | 'sys-perm' | 'sys-temp'

/** What the server offers: at least one, an empty array is refused. §5.3.3.1 */
export interface SaslMechanisms {
  readonly type: 'sasl-mechanisms'
  readonly saslServerMechanisms: readonly string[]
}

/** What the client chose. §5.3.3.2 */
export interface SaslInit {
  readonly type: 'sasl-init'
  readonly mechanism: string
  readonly initialResponse: Uint8Array | undefined
  readonly hostname: string | undefined
}

/** What the mechanism asks of the client. §5.3.3.3 */
export interface SaslChallenge {
  readonly type: 'sasl-challenge'
  readonly challenge: Uint8Array
}

/** What the client answers. §5.3.3.4 */
export interface SaslResponse {
  readonly type: 'sasl-response'
  readonly response: Uint8Array
}

/** How authentication ended. §5.3.3.5 */
export interface SaslOutcome {
  readonly type: 'sasl-outcome'
  readonly code: SaslCode
  readonly additionalData: Uint8Array | undefined
}

/** The body of a SASL frame. */
export type SaslPerformative = SaslMechanisms | SaslInit | SaslChallenge | SaslResponse | SaslOutcome

const CODES: readonly SaslCode[] = ['ok', 'auth', 'sys', 'sys-perm', 'sys-temp']

const saslCodeField: FieldType<SaslCode> = {
  name: 'sasl-code',
  read(reader) {
    const code = ubyteField.read(reader)
    // A code that a later version may add means at least: not authenticated.
    return CODES[code] ?? 'sys'
  },
  write: (writer, code) => writer.writeUbyte(CODES.indexOf(code)),
}

/** The table of `SaslMechanisms`. §5.3.3.1 */
export const saslMechanisms: Composite<SaslMechanisms> = /* @__PURE__ */ composite<SaslMechanisms>({
  name: 'sasl-mechanisms',
  code: 0x40,
  section: '5.3.3.1',
  fields: { saslServerMechanisms: mandatorySymbols },
})

/** The table of `SaslInit`. §5.3.3.2 */
export const saslInit: Composite<SaslInit> = /* @__PURE__ */ composite<SaslInit>({
  name: 'sasl-init',
  code: 0x41,
  section: '5.3.3.2',
  fields: {
    mechanism: mandatory(symbolField),
    initialResponse: optional(binaryField),
    hostname: optional(stringField),
  },
})

/** The table of `SaslChallenge`. §5.3.3.3 */
export const saslChallenge: Composite<SaslChallenge> = /* @__PURE__ */ composite<SaslChallenge>({
  name: 'sasl-challenge',
  code: 0x42,
  section: '5.3.3.3',
  fields: { challenge: mandatory(binaryField) },
})

/** The table of `SaslResponse`. §5.3.3.4 */
export const saslResponse: Composite<SaslResponse> = /* @__PURE__ */ composite<SaslResponse>({
  name: 'sasl-response',
  code: 0x43,
  section: '5.3.3.4',
  fields: { response: mandatory(binaryField) },
})

/** The table of `SaslOutcome`. §5.3.3.5 */
export const saslOutcome: Composite<SaslOutcome> = /* @__PURE__ */ composite<SaslOutcome>({
  name: 'sasl-outcome',
  code: 0x44,
  section: '5.3.3.5',
  fields: { code: mandatory(saslCodeField), additionalData: optional(binaryField) },
})

/** The bodies that a SASL frame may have. */
export const saslFrame: Archetype<SaslPerformative> = /* @__PURE__ */ archetype<SaslPerformative>('sasl-frame', [
  saslMechanisms,
  saslInit,
  saslChallenge,
  saslResponse,
  saslOutcome,
])
