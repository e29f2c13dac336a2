/** The demo with a URL: sends messages to an address of any AMQP 1.0 broker, and receives them again. */

import { assertAccepted, type ConnectOptions, connect } from '../index.ts'
import type { Report } from './report.ts'

const COUNT = 3

/** @throws whatever went wrong first */
export async function brokerDemo(
  report: Report,
  target: string,
  options: Pick<ConnectOptions, 'allowInsecureAuth'> & { ca: string | undefined },
  signal: AbortSignal,
): Promise<void> {
  const url = new URL(target)
  const address = decodeURIComponent(url.pathname.slice(1)) || 'fairlead-demo'
  report.title(`Sending to and receiving from "${address}" on ${url.host}`)
  const secure = url.protocol === 'amqps:'
  const connection = await connect(url, {
    signal,
    trace: report.trace('client'),
    allowInsecureAuth: options.allowInsecureAuth,
    ...(secure && options.ca !== undefined ? { tls: { ca: options.ca } } : {}),
  })
  try {
    report.step('client', `connected to container "${connection.remote.containerId}"${secure ? ' over TLS' : ''}`)
    const receiver = await connection.receiver(address, { signal })
    const sender = await connection.sender(address, { signal })
    report.step('client', `attached a sender and a receiver to "${address}"`)
    const run = crypto.randomUUID()
    for (let i = 1; i <= COUNT; i++) {
      const message = {
        properties: { messageId: `${run}/${i}`, contentType: 'text/plain' },
        body: new TextEncoder().encode(`hello ${i}`),
      }
      assertAccepted(await sender.send(message, { signal }))
    }
    report.step('client', `sent ${COUNT} messages: accepted`)
    let received = 0
    while (received < COUNT) {
      const delivery = await receiver.receive({ signal })
      const id = delivery.message.properties?.messageId
      // What somebody else has left on the address is not ours to take.
      if (typeof id !== 'string' || !id.startsWith(run)) {
        await delivery.release()
        continue
      }
      await delivery.accept()
      received++
    }
    report.step('client', `received and accepted the same ${COUNT} messages`)
  } finally {
    await connection.close()
  }
  report.summary(`${COUNT} messages there and back`)
}
