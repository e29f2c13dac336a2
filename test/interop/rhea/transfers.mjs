/** Messages in bulk between rhea and fairlead: settled, unsettled, settled twice; every outcome; large ones in small frames. */

import assert from 'node:assert/strict'
import { RemoteError } from '../../../dist/index.js'
import { meter } from '../support.mjs'
import { heard, heardTimes, linked, pump, rhea, ways } from './harness.mjs'

const COUNT = 1000
const MIB = 1 << 20

const bodyOf = i => `message ${i} ${'ä'.repeat(i % 50)}`

/** The string that one of our deliveries carries. */
const textOf = ({ message }) => message.body.value ?? message.body

/** Takes `count` deliveries as `for await` gives them. */
async function take(receiver, count, each) {
  let taken = 0
  for await (const delivery of receiver) {
    await each(delivery, taken)
    if (++taken === count) return
  }
  assert.fail(`the link ended after ${taken} of ${count} deliveries`)
}

/** 1,000 messages, each accepted by the receiver, in order and unharmed. */
const unsettled = ways.flatMap(way =>
  [false, true].map(tls => ({
    name: `${way.path}/1000-unsettled${tls ? '-tls' : ''}`,
    async run(t) {
      const { ours, theirs } = await linked(t, way, { tls })
      if (way.from === 'us') {
        const seen = heardTimes(t, theirs, 'message', COUNT, ({ message, delivery }, i) => {
          assert.equal(message.body, bodyOf(i))
          assert.equal(delivery.remote_settled, false)
          delivery.accept()
        })
        const outcomes = await t.wait(
          Promise.all(Array.from({ length: COUNT }, (_, i) => ours.send({ body: bodyOf(i) }))),
          'every outcome',
          15_000,
        )
        await seen
        assert.deepEqual(new Set(outcomes.map(({ outcome }) => outcome)), new Set(['accepted']))
      } else {
        const accepted = heardTimes(t, theirs, 'accepted', COUNT)
        const settled = heardTimes(t, theirs, 'settled', COUNT)
        pump(theirs, COUNT, i => ({ body: bodyOf(i) }))
        await t.wait(
          take(ours, COUNT, (delivery, i) => {
            assert.equal(textOf(delivery), bodyOf(i))
            assert.equal(delivery.settled, false)
            return delivery.accept()
          }),
          'every delivery',
          15_000,
        )
        await Promise.all([accepted, settled])
      }
    },
  })),
)

/** 1,000 messages that nobody has to answer. */
const presettled = ways.map(way => ({
  name: `${way.path}/1000-presettled`,
  async run(t) {
    if (way.from === 'us') {
      const { ours, theirs } = await linked(t, way, {
        ours: { link: { settle: 'settled' } },
        theirs: { link: { snd_settle_mode: 1 } },
      })
      assert.equal(theirs.snd_settle_mode, 1)
      const seen = heardTimes(t, theirs, 'message', COUNT, ({ message, delivery }, i) => {
        assert.equal(message.body, bodyOf(i))
        assert.equal(delivery.remote_settled, true)
      })
      const outcomes = Array.from({ length: COUNT }, (_, i) => ours.send({ body: bodyOf(i) }))
      assert.equal((await t.wait(Promise.all(outcomes), 'every hand-over')).length, COUNT)
      await seen
    } else {
      const { ours, theirs } = await linked(t, way, {
        ours: { link: { sndSettleMode: 'settled' } },
        theirs: { link: { snd_settle_mode: 1 } },
      })
      pump(theirs, COUNT, i => ({ body: bodyOf(i) }))
      await t.wait(
        take(ours, COUNT, (delivery, i) => {
          assert.equal(textOf(delivery), bodyOf(i))
          assert.equal(delivery.settled, true)
          assert.equal(delivery.state, 'settled')
          // Accepting what is settled is allowed and says nothing on the wire.
          return delivery.accept()
        }),
        'every delivery',
        15_000,
      )
    }
  },
}))

const refusal = { condition: 'amqp:precondition-failed', description: 'not today' }

/** Each outcome, with all that it carries, and one that the sender settles by itself. */
const outcomes = ways.map(way => ({
  name: `${way.path}/outcomes`,
  async run(t) {
    const { ours, theirs } = await linked(t, way)
    if (way.from === 'us') {
      theirs.on('message', ({ message, delivery }) => {
        if (message.body === 'accept') delivery.accept()
        else if (message.body === 'reject') delivery.reject(refusal)
        else if (message.body === 'reject without error') delivery.reject()
        else if (message.body === 'release') delivery.release()
        else
          delivery.modified({
            delivery_failed: true,
            undeliverable_here: true,
            message_annotations: { 'x-opt-reason': 'busy' },
          })
      })
      const send = body => t.wait(ours.send({ body }), `the outcome of ${body}`)
      assert.deepEqual(await send('accept'), { outcome: 'accepted' })
      const rejected = await send('reject')
      assert.equal(rejected.outcome, 'rejected')
      assert.ok(rejected.error instanceof RemoteError)
      assert.equal(rejected.error.condition, refusal.condition)
      assert.equal(rejected.error.description, refusal.description)
      assert.deepEqual(await send('reject without error'), { outcome: 'rejected', error: undefined })
      assert.deepEqual(await send('release'), { outcome: 'released' })
      const modified = await send('modify')
      assert.equal(modified.outcome, 'modified')
      assert.equal(modified.deliveryFailed, true)
      assert.equal(modified.undeliverableHere, true)
      assert.equal(modified.messageAnnotations.get('x-opt-reason'), 'busy')
      return
    }
    const decide = async body => {
      const delivery = await t.wait(ours.receive(), `the delivery of ${body}`)
      assert.equal(textOf(delivery), body)
      if (body === 'accepted') return delivery.accept()
      if (body === 'rejected') return delivery.reject({ ...refusal, info: { retry: false } })
      if (body === 'released') return delivery.release()
      return delivery.modify({
        deliveryFailed: true,
        undeliverableHere: true,
        messageAnnotations: { 'x-opt-reason': 'busy' },
      })
    }
    for (const outcome of ['accepted', 'rejected', 'released', 'modified']) {
      const heardIt = heard(t, theirs, outcome)
      const settled = heard(t, theirs, 'settled')
      theirs.send({ body: outcome })
      await decide(outcome)
      const { delivery } = await heardIt
      await settled
      assert.equal(delivery.remote_settled, true)
      const state = delivery.remote_state
      if (outcome === 'rejected') {
        assert.equal(state.error.condition, refusal.condition)
        assert.equal(state.error.description, refusal.description)
        assert.deepEqual(state.error.info, { retry: false })
      }
      if (outcome === 'modified') {
        assert.equal(state.delivery_failed, true)
        assert.equal(state.undeliverable_here, true)
        assert.deepEqual(state.message_annotations, { 'x-opt-reason': 'busy' })
      }
    }
  },
}))

/**
 * The receiver decides, the sender settles, and only then is the receiver done. A rhea sender settles when its user says
 * so and forgets the delivery only if the receiver settles as well, so that its buffer of 2,048 fills: 100 will do.
 */
const second = ways.map(way => ({
  name: `${way.path}/rcv-settle-mode-second`,
  async run(t) {
    const count = 100
    if (way.from === 'us') {
      const { ours, theirs } = await linked(t, way, { theirs: { link: { rcv_settle_mode: 1 } } })
      const settled = heardTimes(t, theirs, 'settled', count, ({ delivery }) => {
        assert.equal(delivery.remote_settled, true)
      })
      theirs.on('message', ({ delivery }) => {
        assert.equal(delivery.remote_settled, false)
        delivery.accept()
        assert.equal(delivery.settled, false)
      })
      const sent = await t.wait(
        Promise.all(Array.from({ length: count }, (_, i) => ours.send({ body: bodyOf(i) }))),
        'every outcome',
      )
      assert.deepEqual(new Set(sent.map(({ outcome }) => outcome)), new Set(['accepted']))
      await settled
      return
    }
    const { ours, theirs } = await linked(t, way, { ours: { link: { settle: 'second' } } })
    assert.equal(theirs.rcv_settle_mode, 1)
    pump(theirs, count, i => ({ body: bodyOf(i) }))
    let accepted = 0
    let done = 0
    theirs.on('accepted', ({ delivery }) => {
      assert.equal(delivery.remote_settled, false)
      assert.ok(done <= accepted, 'accept() resolved before rhea settled')
      accepted++
      delivery.update(true)
    })
    await t.wait(
      take(ours, count, async (delivery, i) => {
        assert.equal(textOf(delivery), bodyOf(i))
        const accepting = delivery.accept()
        assert.equal(delivery.state, 'live')
        await t.wait(accepting, 'our accept()')
        done++
        assert.equal(accepted, i + 1)
        assert.equal(delivery.state, 'settled')
      }),
      'every delivery',
      15_000,
    )
  },
}))

/** Bytes in which a piece that is lost, doubled or moved shows. */
function largeBody() {
  const bytes = Buffer.alloc(MIB)
  for (let i = 0; i < MIB; i += 4) bytes.writeUInt32BE(Math.imul(i, 2654435761) >>> 0, i)
  return bytes
}

/** 1 MiB, with each end's limit on frames in turn and both together; each limit binds only what goes to that end. */
const large = ways.flatMap(way =>
  [
    { path: 'small-frames-both', ours: 4096, theirs: 4096 },
    { path: 'small-frames-to-us', ours: 4096, theirs: 65_536 },
    { path: 'small-frames-to-rhea', ours: 65_536, theirs: 4096 },
    // rhea opens its window of 2,048 transfers again only when a message is complete, so it cannot take 1 MiB in the
    // smallest frames.
    { path: 'smallest-frames', ours: 512, theirs: way.from === 'rhea' ? 512 : 600 },
  ].map(({ path, ours: ourLimit, theirs: theirLimit }) => ({
    name: `${way.path}/1-mib-${path}`,
    async run(t) {
      let largest
      const { ours, theirs } = await linked(t, way, {
        ours: { connection: { maxFrameSize: ourLimit } },
        theirs: { connection: { max_frame_size: theirLimit } },
        through: async port => {
          const relay = await meter(t, port)
          largest = relay.largest
          return relay.port
        },
      })
      const body = largeBody()
      if (way.from === 'us') {
        const seen = heard(t, theirs, 'message')
        const sent = ours.send({ body })
        const { message, delivery } = await seen
        delivery.accept()
        assert.equal(Buffer.compare(message.body.content, body), 0)
        assert.deepEqual(await t.wait(sent, 'the outcome'), { outcome: 'accepted' })
      } else {
        const accepted = heard(t, theirs, 'accepted')
        pump(theirs, 1, () => ({ body: rhea.message.data_section(body) }))
        const delivery = await t.wait(ours.receive(), 'a delivery')
        assert.equal(Buffer.compare(delivery.message.body, body), 0)
        await delivery.accept()
        await accepted
      }
      const toRhea = way.end === 'client' ? largest.toClient : largest.toServer
      const toUs = way.end === 'client' ? largest.toServer : largest.toClient
      const limit = way.from === 'us' ? theirLimit : ourLimit
      const filled = way.from === 'us' ? toRhea : toUs
      assert.ok(toRhea <= theirLimit, `a frame of ${toRhea} bytes to rhea, which takes ${theirLimit}`)
      assert.ok(toUs <= ourLimit, `a frame of ${toUs} bytes to us, who take ${ourLimit}`)
      // Neither end makes frames much smaller than the other takes.
      assert.ok(filled > limit * 0.8, `frames of ${filled} bytes at most, where ${limit} may be sent`)
    },
  })),
)

export const transferCases = [...unsettled, ...presettled, ...outcomes, ...second, ...large]
