/** What nobody can read is rejected, and the loop over it goes on, whether its link is still there or not. */

import { expect, it } from 'vitest'
import type { Delivery } from '../../src/client/api.ts'
import { ClosedError, UsageError } from '../../src/errors.ts'
import { rejectUnreadable } from '../../src/iothub/connection/settling.ts'

const rejecting = (error: Error): Delivery => ({ reject: () => Promise.reject(error) }) as unknown as Delivery

it('what cannot be read and is lost with its link comes again, and is no error yet', async () => {
  await expect(rejectUnreadable(rejecting(new ClosedError('the link', 'link')))).resolves.toBeUndefined()
})

it('what else goes wrong is told', async () => {
  await expect(rejectUnreadable(rejecting(new UsageError('settled already')))).rejects.toBeInstanceOf(UsageError)
})
