/** The folder of `fairlead emulator --state`: what lets clients find the same hub again, and the CA that they trust. */

import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
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
  save(state: EmulatorState, ca: string): Promise<void>
  /** Lets others have it. */
  close(): Promise<void>
}

const STATE = 'emulator.json'
const CA = 'ca.pem'
/** Holds the number of the process whose folder it is. */
const LOCK = 'emulator.lock'
/** Of what is being written. */
const PART = '.part'

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
  const use = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work()
    } catch (error) {
      throw new Misuse(`--state ${name}: ${reason(error as NodeJS.ErrnoException)}`)
    }
  }
  /** Whole or not at all, and from its first byte for this user only. */
  const write = async (file: string, text: string): Promise<void> => {
    await writeFile(join(folder, file + PART), text, { mode: 0o600 })
    await rename(join(folder, file + PART), join(folder, file))
  }
  await use(async () => {
    await mkdir(folder, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  })
  const files = await use(() => readdir(folder))
  const other = files.find(file => ![STATE, CA, LOCK].includes(file.replace(PART, '')))
  if (!files.includes(STATE) && other !== undefined)
    throw new Misuse(`--state ${name}: holds something else (${other}); take a folder that is empty or not there yet`)
  const lock = join(folder, LOCK)
  const holder = await use(() => takeLock(lock))
  if (holder !== undefined)
    throw new Error(
      `--state ${name}: process ${holder} has this folder; take another, or end that, or, if it is no emulator, remove ${lock}`,
    )
  const close = (): Promise<void> => rm(lock, { force: true })
  // Not by what was listed: who had the folder then may have written meanwhile.
  const read = async (): Promise<EmulatorState | undefined> => {
    const text = await use(() =>
      readFile(join(folder, STATE), 'utf8').catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error
      }),
    )
    return text === undefined ? undefined : parse(name, text)
  }
  return {
    ca: join(folder, CA),
    state: await read().catch(async error => {
      await close()
      throw error
    }),
    close,
    save: (state, ca) =>
      use(async () => {
        await write(STATE, `${JSON.stringify(state, undefined, 2)}\n`)
        await write(CA, ca)
      }),
  }
}

/** @returns who has it, if somebody has: the number of the process, as it stands there */
async function takeLock(lock: string): Promise<string | undefined> {
  for (;;) {
    try {
      await writeFile(lock, `${process.pid}\n`, { mode: 0o600, flag: 'wx' })
      return undefined
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    const holder = (await readHolder(lock)) || (await pause(WRITING_MS).then(() => readHolder(lock)))
    if (isAlive(Number(holder))) return holder
    await rm(lock, { force: true })
  }
}

/** '' where none is named: who has made the file may not have written it yet. */
const readHolder = async (lock: string): Promise<string> => (await readFile(lock, 'utf8').catch(() => '')).trim()

/** How long that may take. */
const WRITING_MS = 200

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

function parse(name: string, text: string): EmulatorState {
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
