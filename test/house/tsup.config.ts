/** How the package is built: one file for each subpath and what they share, with maps that lead into `src`, which is shipped. */

import { defineConfig } from 'tsup'

export default defineConfig({
  entry: {
    index: 'src/index.ts',
    codec: 'src/codec.ts',
    engine: 'src/engine.ts',
    iothub: 'src/iothub.ts',
    emulator: 'src/emulator.ts',
    'cli/main': 'src/cli/main.ts',
  },
  format: 'esm',
  target: 'es2022',
  platform: 'node',
  splitting: true,
  sourcemap: true,
  dts: false,
  clean: true,
  removeNodeProtocol: false,
  esbuildOptions(options) {
    options.sourcesContent = false
  },
})
