import { defineConfig } from 'vitest/config'

const root = new URL('..', import.meta.url).pathname

/** Arithmetic and tables of the engine: no branch of theirs may go untested. */
const PURE = [
  'serial',
  'numbering',
  'session-window',
  'link-credit',
  'idle-timeout',
  'unsettled',
  'session-deliveries',
  'postponed',
  'fifo',
  'limits',
  'error-fields',
  'refusal',
  'delivery-sequence',
  'delivery-tags',
  'disposition-runs',
  'transitions',
  'outcomes',
  'payload-position',
  'resumption',
  '*-states',
  'frame-trace',
  'transfer-state',
]

/** What is left of the engine. */
const ENDPOINTS = [
  'engine',
  'events',
  '*-endpoint',
  '*-recovery',
  'acquisition',
  'link-names',
  'channels',
  'early-frames',
  'dispositions',
  'kept-bytes',
  'untaken',
  'incoming-*',
  'outgoing-*',
]

const all = { branches: 100, lines: 100 }
const most = { branches: 90, lines: 90 }

export default defineConfig({
  root,
  test: {
    // Counted for each pattern as a whole, not for each file.
    coverage: {
      include: ['src/**/*.ts'],
      // The commands are tested as a user runs them, in processes of their own (test/dist): those are not seen here.
      exclude: ['src/cli/**'],
      reporter: ['text-summary', ['text', { skipFull: true }]],
      thresholds: {
        'src/types/*.ts': all,
        'src/framing/*.ts': all,
        [`src/engine/{${PURE}}.ts`]: all,
        [`src/engine/{${ENDPOINTS}}.ts`]: most,
        'src/*.ts': most,
        'src/definitions/*.ts': most,
        'src/message/*.ts': most,
        'src/io/*.ts': most,
        'src/client/**/*.ts': most,
        'src/cbs/*.ts': most,
        'src/iothub/**/*.ts': most,
        'src/emulator/**/*.ts': most,
      },
    },
    projects: [
      {
        test: {
          name: 'unit',
          root,
          include: ['test/**/*.test.ts'],
          exclude: ['test/dist/**', 'test/interop/**', '**/node_modules/**'],
          testTimeout: 20_000,
        },
      },
      {
        test: {
          name: 'dist',
          root,
          include: ['test/dist/**/*.test.ts'],
          testTimeout: 60_000,
        },
      },
    ],
  },
})
