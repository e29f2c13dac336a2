/** Base64 as SASL messages carry it: padded, and nothing else in it. RFC 4648, section 4 */

const STRICT = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

/** Bytes → text. */
export const encodeBase64 = (bytes: Uint8Array): string => btoa(String.fromCharCode(...bytes))

/** Text → bytes; `undefined` when it is not base64. */
export function decodeBase64(text: string): Uint8Array | undefined {
  if (!STRICT.test(text)) return undefined
  return Uint8Array.from(atob(text), character => character.charCodeAt(0))
}
