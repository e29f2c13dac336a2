/** The folder of `fairlead emulator --state`: what lets clients find the same hub again, and the CA that they trust. */

import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
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
}

const STATE = 'emulator.json'
const CA = 'ca.pem'
/** Of what is being written. */
const PART = '.part'

/**
 * Opens the folder, or makes one that only this user may look into.
 *
 * @throws {Misuse} it holds something else, is no folder, or may not be used
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
  const other = files.find(file => ![STATE, CA].includes(file.replace(PART, '')))
  if (!files.includes(STATE) && other !== undefined)
    throw new Misuse(`--state ${name}: holds something else (${other}); take a folder that is empty or not there yet`)
  const text = files.includes(STATE) ? await use(() => readFile(join(folder, STATE), 'utf8')) : undefined
  return {
    ca: join(folder, CA),
    state: text === undefined ? undefined : parse(name, text),
    save: (state, ca) =>
      use(async () => {
        await write(STATE, `${JSON.stringify(state, undefined, 2)}\n`)
        await write(CA, ca)
      }),
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
