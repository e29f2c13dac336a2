/** What only a process of its own shows: whether a connection holds it, and the standard WebSocket. Needs `npm run build`. */

import { spawn } from 'node:child_process'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { WebSocketServer } from 'ws'
import type { Connection, Listener } from '../../src/client/api.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { webSocketTransport } from '../../src/io/websocket.ts'

const index = new URL('../../dist/index.js', import.meta.url).href

let listener: Listener
beforeAll(async () => {
  listener = await listen()
  listener.on('error', () => {})
  listener.on('connection', serve)
})
afterAll(() => listener.close())

const bodies: unknown[] = []
function serve(connection: Connection): void {
  connection.on('session', async incoming => {
    const session = await incoming.accept()
    session.on('link', async link => {
      if (link.remoteRole === 'receiver') return void link.accept()
      for await (const delivery of await link.accept()) {
        bodies.push(delivery.message.body)
        await delivery.accept()
      }
    })
  })
}

/** Runs a module. It is ended by force after four seconds. */
function run(code: string, ...flags: string[]): Promise<{ out: string; code: number | null; forced: boolean }> {
  return new Promise(resolve => {
    const child = spawn(
      process.execPath,
      [...flags, '--input-type=module', '-e', `import { connect } from '${index}'\n${code}`],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    )
    let out = ''
    let forced = false
    child.stdout.on('data', text => {
      out += text
    })
    child.stderr.on('data', text => {
      out += text
    })
    const timer = setTimeout(() => {
      forced = true
      child.kill()
    }, 4_000)
    child.on('close', code => {
      clearTimeout(timer)
      resolve({ out, code, forced })
    })
  })
}

test('an open connection holds the process, and none that is unref’d', async () => {
  const connected = `const connection = await connect('amqp://127.0.0.1:${listener.port}'); console.log('open')\n`
  const [held, released, heldAgain] = await Promise.all([
    run(connected),
    run(`${connected}connection.unref()`),
    run(`${connected}connection.unref(); connection.ref()`),
  ])
  expect(held).toMatchObject({ out: 'open\n', forced: true })
  expect(released).toEqual({ out: 'open\n', code: 0, forced: false })
  expect(heldAgain).toMatchObject({ out: 'open\n', forced: true })
})

test('the standard WebSocket of this Node carries a connection, text is refused, and nothing holds the process', async () => {
  const http = createServer()
  const server = new WebSocketServer({ server: http })
  server.on('connection', (socket, { url }) => {
    if (url === '/text') socket.send('AMQP')
    else void listener.accept(webSocketTransport(socket)).then(serve)
  })
  await new Promise<void>(resolve => http.listen(0, '127.0.0.1', resolve))
  const { port } = http.address() as AddressInfo
  try {
    // Node 20 has it behind a flag.
    const flags = 'WebSocket' in globalThis ? [] : ['--experimental-websocket', '--no-warnings']
    bodies.length = 0
    const { out, code } = await run(
      `const connection = await connect('ws://127.0.0.1:${port}/')
      const sender = await connection.sender('q')
      const sends = Array.from({ length: 50 }, (_, i) => sender.send({ body: String(i).repeat(100_000) }))
      console.log(new Set((await Promise.all(sends)).map(({ outcome }) => outcome)))
      await connection.close()
      const error = await connect('ws://127.0.0.1:${port}/text').catch(error => error)
      console.log(error.code, error.message)
      const absent = await connect('ws://127.0.0.1:1/').catch(error => error)
      console.log(absent.code, absent.message)`,
      ...flags,
    )
    expect(out.split('\n')).toEqual([
      `Set(1) { 'accepted' }`,
      expect.stringMatching(/^ERR_AMQP_TRANSPORT .* sent text over the WebSocket/),
      expect.stringMatching(/^ERR_AMQP_TRANSPORT cannot open a WebSocket to 127\.0\.0\.1:1: /),
      '',
    ])
    expect(code).toBe(0)
    expect(bodies).toEqual(Array.from({ length: 50 }, (_, i) => String(i).repeat(100_000)))
  } finally {
    for (const socket of server.clients) socket.terminate()
    server.close()
    http.close()
  }
})
