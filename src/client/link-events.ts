/** What the engine tells of a link and its deliveries, taken to the link of the client; nobody may have one yet. */

import type { EngineEvent } from '../engine/events.ts'
import type { ClientReceiver } from './receiver.ts'
import type { ClientSender } from './sender.ts'

type LinkEvent = Extract<
  EngineEvent,
  { type: 'link.detached' | 'link.flow' | 'link.drained' | 'delivery.continued' | 'delivery.settled' }
>

export function onLinkEvent(event: LinkEvent): void {
  switch (event.type) {
    case 'link.detached': {
      const { link, closed, by, error } = event
      return (link.context as ClientSender | ClientReceiver | undefined)?.onDetached(link, closed, { by, error })
    }
    case 'link.flow':
      return (event.link.context as ClientSender | undefined)?.onFlow()
    case 'link.drained':
      return (event.link.context as ClientReceiver | undefined)?.onDrained()
    case 'delivery.continued':
      return (event.delivery.link.context as ClientReceiver | undefined)?.onContinued(event.stream)
    case 'delivery.settled':
      return (event.delivery.link.context as ClientReceiver | undefined)?.onSettled(event.delivery)
  }
}
