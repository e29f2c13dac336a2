#!/usr/bin/python3
"""One thing that Qpid Proton does with transactions, told as JSON on stdin, as a controller or as a broker.

  {"do": "controller", "port": N, "work": "post" | "retire", "end": "commit" | "abort", "count": N, "settleBefore": bool}
      Proton's own transaction controller; prints `OK {"end": …, "outcomes": […]}`
  {"do": "broker"}
      a broker of queues with a coordinator, on Proton's engine, which has none of its own; prints `OK {"port": N}` and
      serves until it is killed
"""
import json
import socket
import sys
import uuid
from collections import defaultdict, deque

from proton import Condition, Delivery, Described, Message, Terminus, symbol, ulong
from proton.handlers import MessagingHandler, TransactionalClientHandler, TransactionHandler
from proton.reactor import Container

DECLARED, STATE = 0x33, 0x34


def say(**result):
    print('OK', json.dumps(result), flush=True)


class Controller(TransactionalClientHandler, TransactionHandler):
    """Posts to `q`, or retires from `s`, `count` messages under one transaction, and ends it."""

    def __init__(self, job):
        super().__init__(prefetch=job['count'])
        self.job, self.transaction, self.done, self.outcomes = job, None, 0, []

    def on_start(self, event):
        self.connection = event.container.connect(f"127.0.0.1:{self.job['port']}", reconnect=False)
        if self.job['work'] == 'post':
            self.sender = event.container.create_sender(self.connection, 'q')
        before = self.job.get('settleBefore', False)
        event.container.declare_transaction(self.connection, handler=self, settle_before_discharge=before)

    def on_transaction_declared(self, event):
        self.transaction = event.transaction
        if self.job['work'] == 'post':
            for i in range(self.job['count']):
                self.transaction.send(self.sender, Message(body=f'message {i}'))
        else:
            event.container.create_receiver(self.connection, 's')

    def on_message(self, event):
        self.transaction.accept(event.delivery)
        self.outcomes.append(event.message.body)
        self.step()

    def on_delivery(self, event):
        delivery = event.delivery
        if event.link.is_sender and event.link.name != 'txn-ctrl' and delivery.remote_state == STATE:
            self.outcomes.append(int(delivery.remote.data[1].descriptor))
            self.step()

    def step(self):
        self.done += 1
        if self.done < self.job['count']:
            return
        if self.job['end'] == 'commit':
            self.transaction.commit()
        else:
            self.transaction.abort()

    def on_transaction_committed(self, event):
        self.finish('committed')

    def on_transaction_aborted(self, event):
        self.finish('aborted')

    def on_transaction_commit_failed(self, event):
        self.finish('refused')

    def on_transaction_declare_failed(self, event):
        self.finish('not declared')

    def finish(self, end):
        say(end=end, outcomes=self.outcomes)
        self.connection.close()


class Broker(MessagingHandler):
    """Queues by address; a delivery is `(queue, bytes)`."""

    def __init__(self, port):
        super().__init__(prefetch=0, auto_accept=False, auto_settle=False)
        self.port, self.queues, self.consumers, self.transactions = port, defaultdict(deque), [], {}
        self.sent = {}

    def on_start(self, event):
        event.container.listen(f'127.0.0.1:{self.port}')
        say(port=self.port)

    def on_link_opening(self, event):
        link = event.link
        link.source.copy(link.remote_source)
        link.target.copy(link.remote_target)
        if link.is_receiver:
            link.flow(100)
        else:
            self.consumers.append(link)

    def on_sendable(self, event):
        self.pump()

    def pump(self):
        for link in self.consumers:
            queue = self.queues[link.source.address]
            while queue and link.credit > 0:
                payload, tag = queue.popleft(), uuid.uuid4().hex
                delivery = link.delivery(tag)
                link.stream(payload)
                link.advance()
                self.sent[tag] = (queue, payload, delivery)

    def on_delivery(self, event):
        delivery, link = event.delivery, event.link
        if link.is_sender:
            return self.retired(delivery)
        if not delivery.readable or delivery.partial:
            return
        payload = link.recv(delivery.pending)
        link.advance()
        link.flow(1)
        if link.remote_target.type == Terminus.COORDINATOR:
            self.coordinate(delivery, payload)
        elif delivery.remote_state == STATE:
            transaction = self.transactions.get(bytes(delivery.remote.data[0]))
            if transaction is None:
                return self.refuse(delivery)
            transaction['posted'].append((link.remote_target.address, payload))
            delivery.local.data = [delivery.remote.data[0], Described(ulong(Delivery.ACCEPTED), [])]
            self.settle(delivery, STATE)
        else:
            self.queues[link.remote_target.address].append(payload)
            self.settle(delivery, Delivery.ACCEPTED)
            self.pump()

    def retired(self, delivery):
        if delivery.remote_state == STATE:
            transaction = self.transactions.get(bytes(delivery.remote.data[0]))
            if transaction is not None:
                transaction['retired'][delivery.tag] = int(delivery.remote.data[1].descriptor)
        elif delivery.remote_state and delivery.tag in self.sent:
            self.apply(delivery.tag, int(delivery.remote_state))

    def apply(self, tag, outcome):
        queue, payload, delivery = self.sent.pop(tag)
        if outcome == Delivery.RELEASED:
            queue.append(payload)
        self.settle(delivery, outcome)
        self.pump()

    def coordinate(self, delivery, payload):
        message = Message()
        message.decode(payload)
        name, fields = message.body.descriptor, message.body.value
        if name in (0x31, symbol('amqp:declare:list')):
            txn_id = uuid.uuid4().bytes
            self.transactions[txn_id] = {'posted': [], 'retired': {}}
            delivery.local.data = [txn_id]
            return self.settle(delivery, DECLARED)
        transaction = self.transactions.pop(bytes(fields[0]), None)
        if transaction is None:
            return self.refuse(delivery)
        if not (len(fields) > 1 and fields[1]):
            for address, posted in transaction['posted']:
                if address == 'full':
                    return self.refuse(delivery, 'amqp:transaction:rollback')
            for address, posted in transaction['posted']:
                self.queues[address].append(posted)
            for tag, outcome in transaction['retired'].items():
                self.apply(tag, outcome)
        self.settle(delivery, Delivery.ACCEPTED)
        self.pump()

    def refuse(self, delivery, condition='amqp:transaction:unknown-id'):
        delivery.local.condition = Condition(condition, 'refused by the broker')
        self.settle(delivery, Delivery.REJECTED)

    def settle(self, delivery, state):
        if not delivery.settled:
            delivery.update(state)
        delivery.settle()


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


job = json.load(sys.stdin)
Container(Controller(job) if job['do'] == 'controller' else Broker(free_port())).run()
