/** What is wrong with certificates and keys, told by the option that holds them, and never by what they hold. */

import type * as Tls from 'node:tls'
import { UsageError } from '../errors.ts'

/** The options that are PEM, and nothing else in `node:tls`: what each has to have, and how that begins. */
const PEM = {
  ca: ['certificate', /-----BEGIN [A-Z0-9 ]*CERTIFICATE-----/],
  cert: ['certificate', /-----BEGIN [A-Z0-9 ]*CERTIFICATE-----/],
  key: ['private key', /-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----/],
} as const

/**
 * Refuses what `node:tls` would not use, or, of authorities, would pass over in silence: the path of a file. Empty ones are
 * none, as there.
 *
 * @throws {UsageError}
 */
export function checkPem(options: object | undefined): void {
  for (const [name, [what, begin]] of Object.entries(PEM)) {
    const given = (options as Record<string, unknown> | undefined)?.[name]
    for (const one of Array.isArray(given) ? given : [given]) {
      const text = ArrayBuffer.isView(one) ? new TextDecoder().decode(one as Uint8Array) : one
      if (typeof text === 'string' && text !== '' && !begin.test(text))
        throw new UsageError(`tls.${name} has no PEM ${what}; it takes the content of a file, not its path`)
    }
  }
}

/** What `node:tls` has thrown for options, by the first that it does not take alone. */
export function unusable(tls: typeof Tls, options: Tls.SecureContextOptions, thrown: unknown): UsageError {
  const { passphrase } = options
  for (const name of ['ca', 'cert', 'key', 'pfx', 'crl'] as const) {
    try {
      if (options[name] !== undefined) tls.createSecureContext({ [name]: options[name], passphrase })
    } catch (error) {
      return new UsageError(`tls.${name} cannot be used: ${reasonIn(error)}`)
    }
  }
  const { code } = thrown as { code?: unknown }
  if (code === 'ERR_OSSL_X509_KEY_VALUES_MISMATCH') return new UsageError('tls.key is not the key of tls.cert')
  return new UsageError(`tls cannot be used: ${reasonIn(thrown)}`)
}

/** Without what was received: that may be a secret. */
function reasonIn(error: unknown): string {
  const { reason, message } = error as Error & { reason?: unknown }
  const text = typeof reason === 'string' ? reason : message.replace(/\.? Received .*/s, '')
  return /decrypt|mac verify|interrupted/.test(text) ? `${text}; is tls.passphrase the right one?` : text
}
