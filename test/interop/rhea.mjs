/**
 * The cases against rhea, the AMQP library for Node that most projects use.
 *
 * rhea plays both parts: the client of our `listen()` and the server of our `connect()`. In a case's path, `client` or
 * `server` is the end that rhea has, and `sends` or `receives` what rhea does there.
 */

import { connectionCases } from './rhea/connections.mjs'
import { linkCases } from './rhea/links.mjs'
import { messageCases } from './rhea/messages.mjs'
import { transferCases } from './rhea/transfers.mjs'

export const cases = [...connectionCases, ...linkCases, ...transferCases, ...messageCases]
