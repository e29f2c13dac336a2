/** The folder of `fairlead emulator --state`: what lets clients find the same hub again, and the CA that they trust. */

import { randomUUID } from 'node:crypto'
import { linkSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { EmulatorState } from '../emulator.ts'
import { Misuse } from './misuse.ts'

/** A folder that is there, and is of this command or empty. */
export interface StateFolder {
  /** Where the CA is, from the root. */
  readonly ca: string
  /** What an earlier run has left; only that it is JSON has been looked at. */
  readonly state: EmulatorState | undefined
  /** @throws {Misuse} it cannot be written */
  save(state: EmulatorState, ca: string): void
  /** Lets others have it. */
  close(): void
}

const STATE = 'emulator.json'
const CA = 'ca.pem'
/** Holds the number of the process whose folder it is. */
const LOCK = 'emulator.lock'
/** What is being written begins like what it will be, and ends like this; in between is who writes it. */
const PART = '.part'
const OWN = /^(emulator\.json|ca\.pem|emulator\.lock)(\.old)*((\.[\w-]+)?\.part)?$/

/**
 * Opens the folder, or makes one that only this user may look into. It is this process's until it is closed; what one that
 * has died has left is taken over.
 *
 * @throws {Misuse} it holds something else, is no folder, or may not be used
 * @throws {Error} another process has it
 */
export async function openStateFolder(name: string): Promise<StateFolder> {
  if (name === '') throw new Misuse('--state takes a folder')
  const folder = resolve(name)
  const misuse = (error: NodeJS.ErrnoException): Misuse => new Misuse(`--state ${name}: ${reason(error)}`)
  const use = <T>(work: () => T): T => {
    try {
      return work()
    } catch (error) {
      throw misuse(error as NodeJS.ErrnoException)
    }
  }
  use(() => {
    try {
      mkdirSync(folder, { mode: 0o700 })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
  })
  const files = use(() => readdirSync(folder))
  const other = files.find(file => !OWN.test(file))
  if (!files.includes(STATE) && other !== undefined)
    throw new Misuse(`--state ${name}: holds something else (${other}); take a folder that is empty or not there yet`)
  const lock = join(folder, LOCK)
  const holder = await takeLock(lock).catch(error => {
    throw misuse(error)
  })
  if (holder !== undefined)
    throw new Error(
      `--state ${name}: process ${holder.pid} has this folder; take another, or end that, or, if it is no emulator, remove ${holder.lock}`,
    )
  try {
    const text = use(() => {
      removeParts(folder)
      return read(join(folder, STATE))
    })
    return {
      ca: join(folder, CA),
      state: parse(name, text),
      close: () => release(lock),
      save: (state, ca) =>
        use(() => {
          write(join(folder, STATE), `${JSON.stringify(state, undefined, 2)}\n`)
          write(join(folder, CA), ca)
        }),
    }
  } catch (error) {
    release(lock)
    throw error
  }
}

/** Of the state and the CA: nobody else writes those now. */
function removeParts(folder: string): void {
  for (const file of readdirSync(folder))
    if (OWN.test(file) && file.endsWith(PART) && !file.startsWith(LOCK)) rmSync(join(folder, file), { force: true })
}

/** Whole or not at all, and from its first byte for this user only. */
function write(file: string, text: string): void {
  const part = writePart(file, text)
  try {
    renameSync(part, file)
  } catch (error) {
    rmSync(part, { force: true })
    throw error
  }
}

/** @returns where it stands meanwhile */
function writePart(file: string, text: string): string {
  const part = `${file}.${randomUUID()}${PART}`
  writeFileSync(part, text, { mode: 0o600, flag: 'wx' })
  return part
}

/** `undefined` where there is no such file. */
function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return undefined
  }
}

/** Somebody who has a lock: the number of the process, as it stands there. */
interface Holder {
  readonly pid: string
  readonly lock: string
}

/**
 * What the dead have left is removed by one process at a time, which has a lock of its own for that, and looks again before
 * it does so: what was found dead stays as it is until then, since all others wait.
 *
 * @returns who has it, if somebody has
 */
async function takeLock(lock: string): Promise<Holder | undefined> {
  const breaking = `${lock}.old`
  for (let tries = 0; ; tries++) {
    if (createLock(lock)) return undefined
    let left = read(lock)
    if (left?.trim() === '') left = await pause(WRITING_MS).then(() => read(lock))
    if (left === undefined) continue
    const pid = left.trim()
    if (isAlive(Number(pid))) return { pid, lock }
    const other = await takeLock(breaking)
    if (other === undefined) {
      if (read(lock) === left) rmSync(lock, { force: true })
      release(breaking)
    } else if (tries < MAX_TRIES) await pause(TRY_MS)
    else return other
  }
}

/** @returns false where there is one. With its text in it from the start, where the file system has links. */
function createLock(lock: string): boolean {
  const text = `${process.pid}\n`
  const part = writePart(lock, text)
  try {
    linkSync(part, lock)
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') return false
    if (!NO_LINKS.includes(code)) throw error
    return createInPlace(lock, text)
  } finally {
    rmSync(part, { force: true })
  }
  return true
}

function createInPlace(lock: string, text: string): boolean {
  try {
    writeFileSync(lock, text, { mode: 0o600, flag: 'wx' })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    return false
  }
}

/** Only one's own: somebody may have removed that, and started another. */
function release(lock: string): void {
  if (read(lock)?.trim() === `${process.pid}`) rmSync(lock, { force: true })
}

const NO_LINKS: readonly string[] = ['EPERM', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP']

/** How long it may take to write a lock that has been made in place. */
const WRITING_MS = 200

/** How often, and after how long, one looks whether another has removed what the dead have left. */
const MAX_TRIES = 100
const TRY_MS = 20

/** Whether there is such a process. One of our own number was another, as in a container that was started again. */
function isAlive(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0 || pid === process.pid) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function parse(name: string, text: string | undefined): EmulatorState | undefined {
  if (text === undefined) return undefined
  try {
    return JSON.parse(text)
  } catch {
    throw new Misuse(`--state ${name}: ${STATE} is not of this command; take another folder`)
  }
}

function reason({ code, message }: NodeJS.ErrnoException): string {
  if (code === 'ENOTDIR') return 'is no folder'
  if (code === 'ENOENT') return 'the folder that it is to be in is not there'
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') return `may not be read or written (${code})`
  return `cannot be used: ${code ?? message}`
}
