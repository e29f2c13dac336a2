/**
 * State machines as data: what may happen in each state, and what follows.
 *
 * The tables do not know whether they serve the initiating or the accepting end. A cell that is absent is illegal:
 * from us a `UsageError`, from the peer a fault at the scope of the machine.
 */

/** State → input → next state. */
export type Transitions<S extends string, I extends string> = { readonly [state in S]: { readonly [input in I]?: S } }

/** The state that follows, or `undefined` when the input is illegal in this state. */
export const advance = <S extends string, I extends string>(
  table: Transitions<S, I>,
  state: S,
  input: I,
): S | undefined => table[state][input]
