/** Source and target: the two ends of a link, and what they are made of. §3.5, §4.5.1 for the coordinator */

import {
  type Archetype,
  archetype,
  booleanField,
  type Composite,
  composite,
  defaulted,
  exact,
  fieldsField,
  mapField,
  optional,
  symbolField,
  symbols,
  uintField,
} from '../types/composite.ts'
import type { AmqpMap } from '../types/map.ts'
import { type Outcome, outcomeField } from './delivery-state.ts'
import {
  addressField,
  durabilityField,
  expiryPolicyField,
  type TerminusDurability,
  type TerminusExpiryPolicy,
} from './restricted.ts'

/** What a source and a target have in common. */
export interface TerminusFields {
  readonly address: string | undefined
  /** What survives when the link is suspended. */
  readonly durable: TerminusDurability
  /** When the expiry timer starts. */
  readonly expiryPolicy: TerminusExpiryPolicy
  /** Seconds from then until the terminus is forgotten. */
  readonly timeout: number
  /** The peer is asked to create a node and tell its address. */
  readonly dynamic: boolean
  readonly dynamicNodeProperties: AmqpMap | undefined
  /** Extensions that this end wants or has. */
  readonly capabilities: readonly string[]
}

/** Where messages of a link come from. §3.5.3 */
export interface Source extends TerminusFields {
  readonly type: 'source'
  /** `move` or `copy`, or another that the peer knows. §3.5.7 */
  readonly distributionMode: string | undefined
  /** Predicates that a message must meet, by name. §3.5.8 */
  readonly filter: AmqpMap | undefined
  /** What a delivery becomes that is settled without a terminal state. */
  readonly defaultOutcome: Outcome | undefined
  /** Symbols of the outcomes that may be used on this link. */
  readonly outcomes: readonly string[]
}

/** Where messages of a link go. §3.5.4 */
export interface Target extends TerminusFields {
  readonly type: 'target'
}

/** The target of a link that controls transactions. §4.5.1 */
export interface Coordinator {
  readonly type: 'coordinator'
  readonly capabilities: readonly string[]
}

/** The fields that both begin with. */
const leading = /* @__PURE__ */ (() => ({
  address: optional(addressField),
  durable: defaulted(durabilityField, 'none'),
  expiryPolicy: defaulted(expiryPolicyField, 'session-end'),
  timeout: defaulted(uintField, 0),
  dynamic: defaulted(booleanField, false),
  dynamicNodeProperties: optional(exact(fieldsField)),
}))()

/** The table of `Source`. §3.5.3 */
export const source: Composite<Source> = /* @__PURE__ */ composite<Source>({
  name: 'source',
  code: 0x28,
  section: '3.5.3',
  fields: {
    ...leading,
    distributionMode: optional(symbolField),
    filter: optional(/* @__PURE__ */ exact(mapField)),
    defaultOutcome: optional(outcomeField),
    outcomes: symbols,
    capabilities: symbols,
  },
})

/** The table of `Target`. §3.5.4 */
export const target: Composite<Target> = /* @__PURE__ */ composite<Target>({
  name: 'target',
  code: 0x29,
  section: '3.5.4',
  fields: {
    ...leading,
    capabilities: symbols,
  },
})

/** The table of `Coordinator`. §4.5.1 */
export const coordinator: Composite<Coordinator> = /* @__PURE__ */ composite<Coordinator>({
  name: 'coordinator',
  code: 0x30,
  section: '4.5.1',
  fields: { capabilities: symbols },
})

/** A dynamic node lives as long as the link that made it. §3.5.10 */
export interface DeleteOnClose {
  readonly type: 'delete-on-close'
}

/** A dynamic node lives as long as links to it. §3.5.11 */
export interface DeleteOnNoLinks {
  readonly type: 'delete-on-no-links'
}

/** A dynamic node lives as long as it holds messages. §3.5.12 */
export interface DeleteOnNoMessages {
  readonly type: 'delete-on-no-messages'
}

/** A dynamic node lives as long as it holds messages or links to it exist. §3.5.13 */
export interface DeleteOnNoLinksOrMessages {
  readonly type: 'delete-on-no-links-or-messages'
}

/** What `lifetime-policy` among the dynamic-node-properties may say. §3.5.9 */
export type LifetimePolicy = DeleteOnClose | DeleteOnNoLinks | DeleteOnNoMessages | DeleteOnNoLinksOrMessages

/** The table of `DeleteOnClose`. §3.5.10 */
export const deleteOnClose: Composite<DeleteOnClose> = /* @__PURE__ */ composite<DeleteOnClose>({
  name: 'delete-on-close',
  code: 0x2b,
  section: '3.5.10',
  fields: {},
})

/** The table of `DeleteOnNoLinks`. §3.5.11 */
export const deleteOnNoLinks: Composite<DeleteOnNoLinks> = /* @__PURE__ */ composite<DeleteOnNoLinks>({
  name: 'delete-on-no-links',
  code: 0x2c,
  section: '3.5.11',
  fields: {},
})

/** The table of `DeleteOnNoMessages`. §3.5.12 */
export const deleteOnNoMessages: Composite<DeleteOnNoMessages> = /* @__PURE__ */ composite<DeleteOnNoMessages>({
  name: 'delete-on-no-messages',
  code: 0x2d,
  section: '3.5.12',
  fields: {},
})

/** The table of `DeleteOnNoLinksOrMessages`. §3.5.13 */
export const deleteOnNoLinksOrMessages: Composite<DeleteOnNoLinksOrMessages> =
  /* @__PURE__ */ composite<DeleteOnNoLinksOrMessages>({
    name: 'delete-on-no-links-or-messages',
    code: 0x2e,
    section: '3.5.13',
    fields: {},
  })

/** What may stand in an attach's source. §3.5.3 */
export const sourceField: Archetype<Source> = /* @__PURE__ */ archetype<Source>('source', [source])

/** What may stand in an attach's target. §3.5.4 §4.5.1 */
export const targetField: Archetype<Target | Coordinator> = /* @__PURE__ */ archetype<Target | Coordinator>('target', [
  target,
  coordinator,
])
