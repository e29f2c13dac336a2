/**
 * SASLprep: one spelling for names and passwords that people take for the same. RFC 4013, by RFC 3454
 *
 * Mapping (tables B.1, C.1.2) and prohibited output (C.2 to C.9) are those of the RFC, exactly. Three things come from
 * the Unicode version of the platform where the RFC has 3.2's: NFKC, which later versions changed for five characters;
 * what is unassigned (A.1), so that an emoji of today is a legal password; and what runs from left to right (D.2),
 * taken for letters, letter-like numbers and spacing marks. What runs from right to left is D.1 and the letters of the
 * scripts added since.
 */

/** B.1: mapped to nothing. It goes first: U+200B is in C.1.2, too. */
const NOTHING = /\u00ad|\u034f|\u1806|[\u180b-\u180d]|\u200b|\u200c|\u200d|\u2060|[\ufe00-\ufe0f]|\ufeff/g
/** C.1.2: mapped to a space. */
const SPACES = /[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]/g
/**
 * C.2.1, C.2.2, C.3 to C.7, C.8, C.9. What B.1 removes and NFKC replaces (U+0340 and U+0341) cannot occur any more.
 */
const PROHIBITED =
  /[\p{Cc}\u06dd\u070f\u180e\u2028\u2029\u2061-\u2063\u206a-\u206f\ufff9-\ufffd\u{1d173}-\u{1d17a}\p{Co}\p{Noncharacter_Code_Point}\p{Cs}\u2ff0-\u2ffb\u200e\u200f\u202a-\u202e\u{e0001}\u{e0020}-\u{e007f}]/u
/** A.1, of today. */
const UNASSIGNED = /\p{Cn}/u
/** D.1: runs from right to left. */
const RIGHT_TO_LEFT =
  /[\u05be\u05c0\u05c3\u05d0-\u05ea\u05f0-\u05f4\u061b\u061f\u0621-\u063a\u0640-\u064a\u066d-\u066f\u0671-\u06d5\u06dd\u06e5\u06e6\u06fa-\u06fe\u0700-\u070d\u0710\u0712-\u072c\u0780-\u07a5\u07b1\u200f\ufb1d\ufb1f-\ufb28\ufb2a-\ufb36\ufb38-\ufb3c\ufb3e\ufb40\ufb41\ufb43\ufb44\ufb46-\ufbb1\ufbd3-\ufd3d\ufd50-\ufd8f\ufd92-\ufdc7\ufdf0-\ufdfc\ufe70-\ufe74\ufe76-\ufefc]|(?=[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}])\p{L}/u
/** D.2, nearly: runs from left to right. */
const LEFT_TO_RIGHT =
  /(?![\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}])[\p{L}\p{Nl}\p{Mc}]/u

/**
 * Prepares a name or a password.
 *
 * @param use  `stored` for what is kept or derived from, `query` for what is only compared: it may be unassigned
 * @returns `undefined` when it contains what must not be
 */
export function saslprep(text: string, use: 'stored' | 'query'): string | undefined {
  const prepared = text.replace(NOTHING, '').replace(SPACES, ' ').normalize('NFKC')
  if (PROHIBITED.test(prepared) || (use === 'stored' && UNASSIGNED.test(prepared))) return undefined
  return isOneWay(prepared) ? prepared : undefined
}

/** RFC 3454, section 6: text from right to left begins and ends so, and has nothing from left to right in it. */
function isOneWay(text: string): boolean {
  if (!RIGHT_TO_LEFT.test(text)) return true
  const characters = Array.from(text)
  return (
    !LEFT_TO_RIGHT.test(text) && RIGHT_TO_LEFT.test(characters[0] ?? '') && RIGHT_TO_LEFT.test(characters.at(-1) ?? '')
  )
}
