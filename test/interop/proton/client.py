#!/usr/bin/python3
"""One link of a client on Qpid Proton, told as JSON on stdin; prints `OK {…}` with what it saw.

  {"do": "send", "port": N, "count": N, "size": N, "settle": "settled" | "unsettled" | "second"}
      sends messages of patterned bytes; the states that came back, and how many of them settled
  {"do": "receive", "port": N, "settle": …, "steps": [["flow" | "drain", credit, expected], …]}
      takes credit step by step, and waits for so many messages after each, or for the end of the drain; the digests of
      the bodies, how many came settled, and per step how many were there and how much credit came back
"""
import hashlib
import json
import struct
import sys

from proton import Handler, Link, Message
from proton.handlers import Handshaker
from proton.reactor import Container

#: How long a step is watched for more than it may bring.
QUIET_S = 0.1


def say(**result):
    print('OK', json.dumps(result), flush=True)


def patterned(size):
    return b''.join(struct.pack('>I', (i * 2654435761) & 0xFFFFFFFF) for i in range(0, size, 4))


class Client(Handler):
    def __init__(self, job):
        super().__init__()
        self.job = job
        self.handlers = [Handshaker()]

    def on_reactor_init(self, event):
        self.container = event.container
        self.connection = event.container.connect(f"127.0.0.1:{self.job['port']}", handler=self, reconnect=False)

    def modes(self, link):
        settle = self.job['settle']
        link.snd_settle_mode = Link.SND_SETTLED if settle == 'settled' else Link.SND_UNSETTLED
        link.rcv_settle_mode = Link.RCV_SECOND if settle == 'second' else Link.RCV_FIRST

    def on_connection_init(self, event):
        session = event.connection.session()
        session.open()
        self.link = self.attach(session)
        self.modes(self.link)
        self.link.open()

    def finish(self, **result):
        say(**result)
        self.connection.close()


class Sending(Client):
    def attach(self, session):
        self.sent, self.states, self.settled = 0, [], 0
        self.payload = Message(body=patterned(self.job['size']), inferred=True).encode()
        link = session.sender('s')
        link.target.address = 'q'
        return link

    def on_link_flow(self, event):
        while self.link.credit > 0 and self.sent < self.job['count']:
            self.sent += 1
            delivery = self.link.delivery(str(self.sent))
            self.link.stream(self.payload)
            self.link.advance()
            if self.job['settle'] == 'settled':
                delivery.settle()
        if self.job['settle'] == 'settled' and self.sent == self.job['count']:
            self.finish(states=[], settled=0)

    def on_delivery(self, event):
        delivery = event.delivery
        if not delivery.updated or not delivery.remote_state:
            return
        self.settled += delivery.settled
        self.states.append(int(delivery.remote_state))
        delivery.settle()
        if len(self.states) == self.job['count']:
            self.finish(states=self.states, settled=self.settled)


class Receiving(Client):
    def attach(self, session):
        self.digests, self.presettled, self.steps, self.expected, self.draining = [], 0, [], None, False
        link = session.receiver('r')
        link.source.address = 'q'
        return link

    def on_link_remote_open(self, event):
        self.step()

    def step(self):
        if len(self.steps) == len(self.job['steps']):
            return self.finish(digests=self.digests, presettled=self.presettled, steps=self.steps)
        what, credit, self.expected = self.job['steps'][len(self.steps)]
        self.draining = what == 'drain'
        if self.draining:
            self.link.drain(credit)
        else:
            self.link.flow(credit)
        self.check()

    def check(self):
        if self.expected is None or self.draining and self.link.draining():
            return
        if len(self.digests) >= self.expected:
            self.expected = None
            self.container.schedule(QUIET_S, self)

    def on_timer_task(self, event):
        self.steps.append([len(self.digests), self.link.drained() if self.draining else 0])
        self.step()

    def on_link_flow(self, event):
        self.check()

    def on_delivery(self, event):
        delivery = event.delivery
        if delivery.readable and not delivery.partial:
            message = Message()
            message.decode(self.link.recv(delivery.pending))
            self.link.advance()
            self.digests.append(hashlib.sha256(message.body).hexdigest())
            self.presettled += delivery.settled
            delivery.update(delivery.ACCEPTED)
            if delivery.settled or self.job['settle'] != 'second':
                delivery.settle()
            self.check()
        elif delivery.updated and delivery.settled:
            delivery.settle()


job = json.load(sys.stdin)
Container(Sending(job) if job['do'] == 'send' else Receiving(job)).run()
