"""One end of one authentication by Qpid Proton with Cyrus SASL: reads what to do as JSON from stdin, prints what happens.

"LISTENING {port}" for a server; then, at either end, "OPEN {user, mechanism}" or "FAILED {name, description}".
Secrets come by stdin, not as arguments, which every user of the machine could read.
"""

import json
import sys

from proton import SSLUnavailable  # noqa: F401  a build without its parts fails here, not in a case
from proton.handlers import MessagingHandler
from proton.reactor import Container


def tell(word, **what):
    print(word, json.dumps(what), flush=True)


class Peer(MessagingHandler):
    def __init__(self, job):
        super().__init__()
        self.job = job

    def on_start(self, event):
        if self.job["do"] == "serve":
            self.acceptor = event.container.listen("127.0.0.1:%d" % self.job["port"])
            tell("LISTENING", port=self.job["port"])
        else:
            event.container.connect(
                "amqp://127.0.0.1:%d" % self.job["port"],
                user=self.job["user"],
                password=self.job["password"],
                allowed_mechs=self.job["mechanisms"],
                allow_insecure_mechs=True,
                reconnect=False,
            )

    def on_connection_bound(self, event):
        if self.job["do"] != "serve":
            return
        sasl = event.transport.sasl()
        sasl.config_path(self.job["configuration"])
        sasl.config_name("peer")
        sasl.allowed_mechs(self.job["mechanisms"])
        sasl.allow_insecure_mechs = True
        event.transport.require_auth(True)

    def on_connection_opened(self, event):
        tell("OPEN", user=event.transport.user, mechanism=event.transport.sasl().mech)
        if self.job["do"] != "serve":
            event.connection.close()

    def on_transport_error(self, event):
        condition = event.transport.condition
        tell("FAILED", name=condition.name, description=condition.description)


Container(Peer(json.load(sys.stdin))).run()
