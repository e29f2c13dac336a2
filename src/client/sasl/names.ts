/** Names inside a comma-separated SASL message: `,` is written `=2C` and `=` is written `=3D`. RFC 5802, section 5.1 */

/** A name as it is written. */
export const escapeName = (name: string): string => name.replaceAll('=', '=3D').replaceAll(',', '=2C')

/** The name that was written; `undefined` when it is empty, or `=` stands for anything else. */
export function unescapeName(text: string): string | undefined {
  if (!/^(?:[^=,\0]|=2C|=3D)+$/.test(text)) return undefined
  return text.replaceAll('=2C', ',').replaceAll('=3D', '=')
}
