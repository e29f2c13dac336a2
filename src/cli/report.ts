/** What the demo prints: a line for each thing that happened, who did it first. Colours only for a terminal. */

import { formatFrame } from '../client/diagnostics/trace-format.ts'
import type { TracedFrame } from '../index.ts'

const colour = process.stdout.isTTY && !process.env['NO_COLOR']
const paint = (code: number, text: string): string => (colour ? `\u001b[${code}m${text}\u001b[0m` : text)

/** Prints steps, and frames if asked to. */
export class Report {
  readonly #tracing: boolean
  readonly #began = performance.now()

  constructor(tracing: boolean) {
    this.#tracing = tracing
  }

  title(text: string): void {
    console.log(`${paint(1, text)}\n`)
  }

  /** Something that worked. */
  step(who: string, text: string): void {
    console.log(`  ${paint(32, '✓')} ${who.padEnd(8)} ${text}`)
  }

  /** The last line. */
  summary(text: string): void {
    console.log(`\n${paint(1, 'done:')} ${text} in ${((performance.now() - this.#began) / 1000).toFixed(2)} s`)
  }

  /** A listener for frames of one connection, when tracing. */
  trace(who: string): ((frame: TracedFrame) => void) | undefined {
    if (!this.#tracing) return undefined
    return frame =>
      console.log(paint(2, `    ${who.padEnd(8)} ${frame.direction === 'out' ? '→' : '←'} ${formatFrame(frame)}`))
  }
}
