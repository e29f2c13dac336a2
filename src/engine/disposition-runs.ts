/** Dispositions that are due, merged into ranges as long as ids follow each other and states are the same. §2.7.6 */

import type { DeliveryState } from '../definitions/delivery-state.ts'
import type { Disposition } from '../definitions/performatives.ts'
import type { SequenceNo } from '../definitions/restricted.ts'
import { serialAdd } from './serial.ts'

/** One disposition to be written. */
export interface DispositionRun {
  readonly receiver: boolean
  readonly first: SequenceNo
  last: SequenceNo
  readonly settled: boolean
  readonly state: DeliveryState | undefined
}

export class DispositionRuns {
  #runs: DispositionRun[] = []

  /** Adds a delivery. @returns whether this began a new run */
  add(receiver: boolean, id: SequenceNo, settled: boolean, state: DeliveryState | undefined): boolean {
    const run = this.#runs[this.#runs.length - 1]
    if (
      run !== undefined &&
      run.state === state &&
      run.receiver === receiver &&
      run.settled === settled &&
      id === serialAdd(run.last, 1)
    ) {
      run.last = id
      return false
    }
    this.#runs.push({ receiver, first: id, last: id, settled, state })
    return true
  }

  /** Takes what is due, in order. */
  take(): readonly DispositionRun[] {
    const runs = this.#runs
    this.#runs = []
    return runs
  }
}

/** The frame that a run is written as. */
export const dispositionOf = ({ receiver, first, last, settled, state }: DispositionRun): Disposition => ({
  type: 'disposition',
  role: receiver ? 'receiver' : 'sender',
  first,
  last: last === first ? undefined : last,
  settled,
  state,
  batchable: false,
})
