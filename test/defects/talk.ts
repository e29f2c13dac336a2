import { connect } from 'node:net'
import { concat } from '../peer/wire.ts'

/**
 * Says these bytes to a listener, and gives all that it says until it ends. A piece that is promised waits for its
 * promise; any other waits 20 ms behind the one before, in which its effects are likely there, but need not be.
 */
export function talk(port: number, ...pieces: (Uint8Array | Promise<Uint8Array>)[]): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const heard: Uint8Array[] = []
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    socket.setTimeout(5000, () => socket.destroy(new Error('nothing for five seconds')))
    socket.on('data', bytes => heard.push(bytes)).on('error', reject)
    socket.on('close', () => resolve(concat(...heard)))
    const say = async () => {
      for (const piece of pieces) {
        const bytes = await piece
        if (!socket.writable) return
        socket.write(bytes)
        await new Promise(after => setTimeout(after, 20))
      }
    }
    void say()
  })
}
