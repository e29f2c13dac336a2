/** What the cases of every peer share: a trial with time limits and clean-up, a certificate, a relay that reads along. */

import { execFileSync } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

/** One step of a case that takes longer than this has failed, and the message says which. */
const STEP_MS = 5_000
/** Longer than a close may take that the peer does not answer. */
const CLEANUP_MS = 8_000

/** A tool that is not on this machine: the case is skipped, and the run says so. */
export class Missing extends Error {}

/** One run of one case. Cases call it `t`. */
export class Trial {
  #cleanups = []
  #broken = withResolvers()
  #ms

  constructor(ms) {
    this.#ms = ms
    this.#broken.promise.catch(() => {})
  }

  /** Runs the case and its clean-up, within their times. */
  async run(body) {
    let error
    try {
      await this.#within(Promise.race([body(this), this.#broken.promise]), this.#ms, 'the case')
    } catch (thrown) {
      error = thrown ?? new Error('rejected without a reason')
    }
    for (const cleanup of this.#cleanups.reverse()) {
      try {
        await this.#within(cleanup(), CLEANUP_MS, 'clean-up')
      } catch (thrown) {
        error ??= thrown
      }
    }
    // A rejection that nobody handles is told a turn later.
    await delay(1)
    error ??= await Promise.race([this.#broken.promise, undefined]).catch(thrown => thrown)
    return error instanceof Missing ? { lacks: error.message } : { error }
  }

  /** Something went wrong outside the case's own flow. */
  fail(error) {
    this.#broken.reject(error)
  }

  /** Undone after the case, last first. */
  defer(cleanup) {
    this.#cleanups.push(cleanup)
  }

  /** Waits for a step of the case, or fails saying what did not happen. */
  wait(promise, what, ms = STEP_MS) {
    return this.#within(promise, ms, what)
  }

  /** Waits until something holds. */
  async until(what, holds, ms) {
    let isOver = false
    const polling = (async () => {
      while (!isOver && !holds()) await delay(5)
    })()
    await this.wait(polling, what, ms).finally(() => {
      isOver = true
    })
  }

  async #within(promise, ms, what) {
    let timer
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${what}: nothing within ${ms / 1000} s`)), ms)
    })
    try {
      return await Promise.race([promise, late])
    } finally {
      clearTimeout(timer)
    }
  }
}

/** Node 20 has no `Promise.withResolvers`. */
export function withResolvers() {
  let resolve
  let reject
  const promise = new Promise((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}

/** What a promise comes to, as data: for promises that must settle, one way or the other. */
export const settled = promise =>
  promise.then(
    value => ({ value }),
    error => ({ error }),
  )

/** A port of the loopback interface that nobody listens on, for peers that cannot choose one. */
export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

/**
 * What emulated hubs see from now on, by what the library tells of itself: how many connections were opened, and how
 * often a token was put on one. Begin before a client connects.
 */
export function watchHubs(t) {
  const seen = { connections: 0, tokens: 0 }
  const isHub = ({ connection }) => connection.startsWith('DeviceGateway_')
  const toCbs = new Set()
  const onState = message => {
    if (isHub(message) && message.scope === 'connection' && message.state === 'opened') seen.connections++
  }
  const onFrame = ({ direction, body, channel, id, ...message }) => {
    if (direction !== 'in' || !isHub(message)) return
    const link = `${id} ${channel} ${body?.handle}`
    if (body?.type === 'attach' && body.role === 'sender' && body.target?.address === '$cbs') toCbs.add(link)
    if (body?.type === 'transfer' && toCbs.has(link)) seen.tokens++
  }
  subscribe('fairlead:state', onState)
  subscribe('fairlead:frame', onFrame)
  t.defer(() => {
    unsubscribe('fairlead:state', onState)
    unsubscribe('fairlead:frame', onFrame)
  })
  return seen
}

let certificateMade

/** A self-signed certificate for localhost, made anew for each run. @throws {Missing} without openssl */
export function certificate() {
  if (certificateMade) return certificateMade
  const folder = mkdtempSync(join(tmpdir(), 'fairlead-interop-'))
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  try {
    execFileSync(
      'openssl',
      [
        ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
        ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
        ...['-keyout', key, '-out', cert],
      ],
      { stdio: 'pipe' },
    )
    certificateMade = { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') }
  } catch (error) {
    if (error.code === 'ENOENT') throw new Missing('openssl')
    throw error
  } finally {
    rmSync(folder, { recursive: true })
  }
  return certificateMade
}

/**
 * A relay in front of a port that reads along: the largest AMQP frame each way, in bytes, and how many were empty.
 * The limits of one end are kept by the other, so neither of them is asked.
 */
export async function meter(t, port) {
  const largest = { toServer: 0, toClient: 0 }
  const beats = { toServer: 0, toClient: 0 }
  const sockets = new Set()
  const relay = net.createServer(client => {
    const server = net.connect(port, '127.0.0.1')
    for (const [from, to, direction] of [
      [client, server, 'toServer'],
      [server, client, 'toClient'],
    ]) {
      sockets.add(from)
      const read = frameSizes(size => {
        largest[direction] = Math.max(largest[direction], size)
        if (size === 8) beats[direction]++
      })
      from.on('data', read).on('error', () => to.destroy())
      from.pipe(to)
    }
  })
  relay.listen(0, '127.0.0.1')
  await once(relay, 'listening')
  t.defer(() => {
    for (const socket of sockets) socket.destroy()
    relay.close()
  })
  return { port: relay.address().port, largest, beats }
}

/** Tells the size of every frame in a stream of bytes, protocol headers left out. §2.2 §2.3.1 */
function frameSizes(tell) {
  let rest = Buffer.alloc(0)
  return bytes => {
    rest = Buffer.concat([rest, bytes])
    while (rest.length >= 8) {
      const isHeader = rest.toString('latin1', 0, 4) === 'AMQP'
      const size = isHeader ? 8 : rest.readUInt32BE(0)
      if (rest.length < size) return
      if (!isHeader) tell(size)
      rest = rest.subarray(size)
    }
  }
}
