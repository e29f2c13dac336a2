import { execFile, execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as tls from 'node:tls'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Certificate, createCertificate } from '../../src/emulator/certificates/certificate.ts'
import { UsageError } from '../../src/errors.ts'

let made: Certificate
let server: tls.Server
let port: number
let directory: string

beforeAll(async () => {
  made = await createCertificate({ hostNames: ['myhub.example', '*.wild.example', '10.0.0.7', 'fe80::1:2'] })
  server = tls.createServer({ cert: made.cert, key: made.key }, socket => socket.on('error', () => {}).end('hello'))
  server.on('tlsClientError', () => {})
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  port = (server.address() as AddressInfo).port
  directory = await mkdtemp(join(tmpdir(), 'fairlead-certificate-'))
  await writeFile(join(directory, 'ca.pem'), made.ca)
  await writeFile(join(directory, 'cert.pem'), made.cert)
})

afterAll(async () => {
  server.close()
  await rm(directory, { recursive: true })
})

/** Connects with full verification; resolves to the text received. */
function dial(options: tls.ConnectionOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host: '127.0.0.1', port, ...options })
    let text = ''
    socket.setEncoding('utf8').on('data', chunk => {
      text += chunk
    })
    socket.on('end', () => resolve(text)).on('error', reject)
  })
}

function hasProgram(name: string, argument: string): boolean {
  try {
    execFileSync(name, [argument], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

describe('node:tls, fully verifying', () => {
  it.each(['TLSv1.2', 'TLSv1.3'] as const)('%s connects with ca', async version => {
    const connection = { ca: made.ca, servername: 'localhost', minVersion: version, maxVersion: version }
    expect(await dial(connection)).toBe('hello')
  })

  it('connects by IP address and by the names given', async () => {
    expect(await dial({ ca: made.ca })).toBe('hello')
    expect(await dial({ ca: made.ca, servername: 'myhub.example' })).toBe('hello')
    expect(await dial({ ca: made.ca, servername: 'any.wild.example' })).toBe('hello')
  })

  it('refuses without ca', async () => {
    await expect(dial({ servername: 'localhost' })).rejects.toMatchObject({ code: 'SELF_SIGNED_CERT_IN_CHAIN' })
  })

  it('refuses with the ca of another run', async () => {
    const { ca } = await createCertificate()
    await expect(dial({ ca, servername: 'localhost' })).rejects.toMatchObject({ code: 'SELF_SIGNED_CERT_IN_CHAIN' })
  })

  it('refuses a wrong host name', async () => {
    await expect(dial({ ca: made.ca, servername: 'other.example' })).rejects.toMatchObject({
      code: 'ERR_TLS_CERT_ALTNAME_INVALID',
    })
  })
})

describe('X.509 fields, RFC 5280', () => {
  it('4.2.1.6 the names are in subjectAltName', () => {
    const { subjectAltName } = new X509Certificate(made.cert)
    expect(subjectAltName?.split(', ').sort()).toEqual(
      [
        'DNS:localhost',
        'DNS:myhub.example',
        'DNS:*.wild.example',
        'IP Address:127.0.0.1',
        'IP Address:10.0.0.7',
        'IP Address:0:0:0:0:0:0:0:1',
        'IP Address:FE80:0:0:0:0:0:1:2',
      ].sort(),
    )
  })

  it('4.2.1.9 the authority is one, the server is not, and the authority signed both', () => {
    const [ca, cert] = [new X509Certificate(made.ca), new X509Certificate(made.cert)]
    expect([ca.ca, cert.ca]).toEqual([true, false])
    expect(cert.checkIssued(ca)).toBe(true)
    expect(cert.verify(ca.publicKey)).toBe(true)
    expect(ca.verify(ca.publicKey)).toBe(true)
    expect(cert.verify(cert.publicKey)).toBe(false)
  })

  it('4.1.2.5 valid from an hour ago, for 7 days by default', () => {
    const { validFrom, validTo } = new X509Certificate(made.cert)
    const hours = (text: string): number => (Date.parse(text) - Date.now()) / 3_600_000
    expect(hours(validFrom)).toBeCloseTo(-1, 1)
    expect(hours(validTo)).toBeCloseTo(7 * 24, 1)
  })

  it('4.1.2.2 serial numbers are 16 bytes, positive and fresh', async () => {
    const again = await createCertificate()
    const serials = [made.ca, made.cert, again.ca, again.cert].map(text => new X509Certificate(text).serialNumber)
    expect(new Set(serials).size).toBe(4)
    for (const serial of serials) expect(serial).toMatch(/^[4-7][0-9A-F]{31}$/)
  })
})

describe('options', () => {
  it.each(['', 'exa mple', 'ü.example', 'a/b', '1.2.3.400', '1:2', 'x'.repeat(64), '**.example'])(
    'refuses the host name %j',
    async name => {
      await expect(createCertificate({ hostNames: [name] })).rejects.toThrow(UsageError)
    },
  )

  it.each([
    ['::', '0:0:0:0:0:0:0:0'],
    ['2001:db8::', '2001:DB8:0:0:0:0:0:0'],
    ['::ffff:1.2.3.4', '0:0:0:0:0:FFFF:102:304'],
    ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
  ])('RFC 4291: %s', async (name, expected) => {
    const { cert } = await createCertificate({ hostNames: [name] })
    expect(new X509Certificate(cert).subjectAltName).toContain(`IP Address:${expected}`)
  })

  it('validDays is 1 … 825', async () => {
    for (const validDays of [0, 826, Number.NaN]) {
      await expect(createCertificate({ validDays })).rejects.toThrow(UsageError)
    }
    const { cert } = await createCertificate({ validDays: 825 })
    expect(Date.parse(new X509Certificate(cert).validTo)).toBeGreaterThan(Date.now() + 824 * 86_400_000)
  })
})

describe.skipIf(!hasProgram('openssl', 'version'))('openssl', () => {
  it('verify -x509_strict accepts the chain for its names and its purpose', () => {
    const run = (...extra: string[]): string =>
      execFileSync(
        'openssl',
        ['verify', '-x509_strict', '-purpose', 'sslserver', ...extra, '-CAfile', 'ca.pem', 'cert.pem'],
        { cwd: directory, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] },
      )
    expect(run('-verify_hostname', 'myhub.example')).toContain('cert.pem: OK')
    expect(run('-verify_ip', '::1')).toContain('cert.pem: OK')
    expect(() => run('-verify_hostname', 'other.example')).toThrow('ostname mismatch')
  })

  it('verify -x509_strict accepts the authority itself', () => {
    const text = execFileSync('openssl', ['verify', '-x509_strict', '-CAfile', 'ca.pem', 'ca.pem'], {
      cwd: directory,
      encoding: 'utf8',
    })
    expect(text).toContain('ca.pem: OK')
  })
})

describe.skipIf(!hasProgram('python3', '--version'))('python3', () => {
  const program = `
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
context.verify_flags |= ssl.VERIFY_X509_STRICT
with socket.create_connection(('127.0.0.1', int(sys.argv[2])), 10) as raw:
    with context.wrap_socket(raw, server_hostname=sys.argv[3]) as secure:
        print(secure.recv(5).decode())
`
  const run = (name: string): Promise<{ stdout: string }> =>
    promisify(execFile)('python3', ['-c', program, join(directory, 'ca.pem'), String(port), name])

  it('ssl with VERIFY_X509_STRICT accepts the chain, and refuses a wrong host name', async () => {
    expect((await run('localhost')).stdout).toBe('hello\n')
    await expect(run('other.example')).rejects.toThrow('ostname mismatch')
  })
})
