import { defineConfig } from 'vitest/config'

const root = new URL('..', import.meta.url).pathname

export default defineConfig({
  test: {
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
