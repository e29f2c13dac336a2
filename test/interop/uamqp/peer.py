"""One run of uAMQP as a client: reads what to do as JSON from stdin, does it, prints one line.

The line is "OK {...}" or "FAILED {...}", and the run is judged by it alone, not by the exit status: uAMQP 1.5.3 can
crash in the interpreter's clean-up after everything has gone well. For the same reason the run ends without that
clean-up. Secrets come by stdin, not as arguments, which every user of the machine could read.
"""

import base64
import collections
import datetime
import hashlib
import hmac
import json
import os
import sys
import time
import urllib.parse
import uuid

import uamqp
from uamqp import address, authentication, constants, errors, types

PATTERN_STEP = 2654435761


def patterned(size):
    """Bytes in which a piece that is lost, doubled or moved shows; the cases in JavaScript make the same."""
    return b"".join((i * PATTERN_STEP & 0xFFFFFFFF).to_bytes(4, "big") for i in range(0, size, 4))


def transport_of(job):
    return constants.TransportType.AmqpOverWebsocket if job.get("isWebSocket") else constants.TransportType.Amqp


def plain(job):
    return authentication.SASLPlain(
        job["host"],
        job["user"],
        job["password"],
        port=job["port"],
        verify=job["ca"],
        transport_type=transport_of(job),
    )


def cbs(job):
    return authentication.SASTokenAuth(
        audience=job["audience"],
        uri="amqps://" + job["host"],
        token=job["token"],
        expires_at=time.time() + 600,
        port=job["port"],
        verify=job["ca"],
        transport_type=transport_of(job),
    )


def anonymous(job):
    return authentication.SASLAnonymous(job["host"], port=job["port"], verify=job["ca"])


def renewing_policy(job):
    """Makes tokens of a policy of an event hub by itself; for a hub it would sign with the wrong key."""
    life = datetime.timedelta(seconds=job["life"])
    uri, name, key = job["audience"], job["keyName"], job["key"]
    signed = [urllib.parse.quote_plus(part).encode() for part in (name, uri)]
    return authentication.SASTokenAuth(
        audience=uri,
        uri=uri,
        token=uamqp.utils.create_sas_token(signed[0], key.encode(), signed[1], life),
        expires_in=life,
        username=name,
        password=key,
        port=job["port"],
        verify=job["ca"],
        refresh_window=job["window"],
    )


def renewing_device(job):
    """Asks a function for tokens: those that it makes itself are of a policy."""
    Token = collections.namedtuple("Token", ["token", "expires_on"])

    def get_token():
        expires_on = int(time.time()) + job["life"]
        resource = urllib.parse.quote_plus(job["audience"])
        signed = hmac.digest(base64.b64decode(job["key"]), f"{resource}\n{expires_on}".encode(), "sha256")
        signature = urllib.parse.quote_plus(base64.b64encode(signed))
        return Token(f"SharedAccessSignature sr={resource}&sig={signature}&se={expires_on}", expires_on)

    return authentication.JWTTokenAuth(
        audience=job["audience"],
        uri="amqps://" + job["host"],
        get_token=get_token,
        token_type=b"servicebus.windows.net:sastoken",
        port=job["port"],
        verify=job["ca"],
        refresh_window=job["window"],
    )


# With "url" the credentials are in the address, and uAMQP goes to port 5671 whatever the address says.
AUTHENTICATIONS = {
    "plain": plain,
    "cbs": cbs,
    "anonymous": anonymous,
    "url": lambda job: None,
    "renewing-policy": renewing_policy,
    "renewing-device": renewing_device,
}


def message_of(init):
    body = patterned(init["size"]) if "size" in init else init["body"]
    properties = init.get("properties")
    header = None
    if "header" in init:
        header = uamqp.message.MessageHeader()
        for field, value in init["header"].items():
            setattr(header, field, value)
    return uamqp.Message(
        body,
        properties=properties and uamqp.message.MessageProperties(**properties),
        application_properties=init.get("applicationProperties"),
        annotations=symbolic(init.get("annotations")),
        header=header,
    )


def sender(job, auth, **options):
    return uamqp.SendClient(
        job["address"],
        auth=auth,
        send_settle_mode=constants.SenderSettleMode[job.get("settle", "Unsettled")],
        **job.get("options", {}),
        **options,
    )


def symbolic(entries):
    return entries and {types.AMQPSymbol(key): value for key, value in entries.items()}


def attach(job, auth):
    """Attaches a sender, and keeps the connection alive for as long as the job says."""
    seen = {}

    def on_attach(source, target, properties, error):
        # The addresses are those that the other end answered with.
        seen.update(source=text(source.address), target=text(target.address), properties=text(properties))

    # uAMQP takes keys and capabilities as they are given, and would write strings.
    capabilities = [types.AMQPSymbol(name) for name in job.get("desiredCapabilities", [])]
    desired = capabilities and uamqp.utils.data_factory(types.AMQPArray(capabilities))
    client = sender(
        job,
        auth,
        on_attach=on_attach,
        desired_capabilities=desired or None,
        properties=symbolic(job.get("connectionProperties")),
        link_properties=symbolic(job.get("linkProperties")),
    )
    client.open()
    try:
        while not client.client_ready():
            pass
        deadline = time.time() + job.get("seconds", 0)
        while time.time() < deadline:
            client.do_work()
            time.sleep(0.01)
    finally:
        client.close()
    return seen


def send(job, auth):
    client = sender(job, auth)
    outcomes = []

    def on_done(result, detail):
        error = isinstance(detail, errors.MessageException) and detail
        outcomes.append(
            {
                "result": result.name,
                "condition": text(error.condition) if error else None,
                "description": text(error.description) if error else None,
            }
        )

    if "batch" in job:
        messages = [uamqp.BatchMessage(data=[body.encode() for body in job["batch"]])]
    else:
        messages = [message_of(init) for init in job["messages"]]
    for message in messages:
        message.on_send_complete = on_done
        client.queue_message(message)
    states = client.send_all_messages(close_on_done=True)
    return {"states": [state.name for state in states], "outcomes": outcomes}


def text(value):
    """What uAMQP gives as bytes, an enum of bytes or something else, for JSON."""
    value = getattr(value, "value", value)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {text(key): text(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [text(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def described(message):
    parts = list(message.get_data())
    body = b"".join(parts) if all(isinstance(part, bytes) for part in parts) else None
    properties = message.properties
    seen = {
        "size": None if body is None else len(body),
        "sha256": None if body is None else hashlib.sha256(body).hexdigest(),
        "body": text(body) if body is not None and len(body) < 10000 else None,
        "deliveryTag": message.delivery_tag and bytes(message.delivery_tag).hex(),
        "applicationProperties": text(message.application_properties),
        "annotations": text(message.annotations),
    }
    for name in ("message_id", "user_id", "to", "subject", "correlation_id", "content_type", "group_sequence"):
        seen[name] = text(getattr(properties, name)) if properties else None
    return seen


def settle(message, how):
    if how == "accept":
        return message.accept()
    if how == "release":
        return message.release()
    if how == "reject":
        return message.reject(condition=b"amqp:precondition-failed", description=b"not today")
    # What uAMQP calls deliverable it sends as undeliverable-here.
    return message.modify(failed=True, deliverable=True)


def receiver(job, auth, **options):
    return uamqp.ReceiveClient(
        address.Source(job["address"]),
        auth=auth,
        auto_complete=False,
        prefetch=job.get("prefetch", 300),
        receive_settle_mode=constants.ReceiverSettleMode[job.get("mode", "PeekLock")],
        **job.get("options", {}),
        **options,
    )


def receive(job, auth):
    """Settles each message in its way. With "isStubborn", a client that has failed gives way to a new one."""
    count = job["count"]
    ways = job.get("settle", ["accept"])
    client = receiver(job, auth)
    seen = []
    failures = []
    deadline = time.time() + job["seconds"]
    try:
        while len(seen) < count and time.time() < deadline:
            try:
                batch = client.receive_message_batch(max_batch_size=count - len(seen), timeout=500)
            except Exception as error:  # Whatever it is, the case has to see it.
                if not job.get("isStubborn"):
                    raise
                failures.append(type(error).__name__)
                quietly_closed(client)
                client = receiver(job, AUTHENTICATIONS[job["auth"]](job))
                continue
            for message in batch:
                described_message = described(message)
                described_message["wasSettled"] = message.settled
                settle(message, ways[len(seen) % len(ways)])
                seen.append(described_message)
    finally:
        client.close()
    return {"messages": seen, "failures": failures}


def telemetry(job, auth):
    """Reads events as Microsoft's Event Hubs client of those years did: by the redirect, with a token of its own."""
    client = uamqp.ReceiveClient(address.Source(job["address"]), auth=auth)
    try:
        client.receive_message_batch(timeout=5000)
    except errors.LinkRedirect as redirected:
        redirect = redirected
    finally:
        client.close()
    host, entity = text(redirect.hostname), text(redirect.address).split("/ConsumerGroups")[0]
    uri = "sb://" + host + "/" + entity.rsplit("/", 1)[1]
    seen = {name: text(getattr(redirect, name)) for name in ("hostname", "network_host", "port", "address")}

    def there():
        if job["there"] == "plain":
            return authentication.SASLPlain(host, job["keyName"], job["key"], port=redirect.port, verify=job["ca"])
        return authentication.SASTokenAuth.from_shared_access_key(
            uri, job["keyName"], job["key"], port=redirect.port, verify=job["ca"]
        )

    source = address.Source(redirect.address)
    source.set_filter(job["selector"].encode())
    client = uamqp.ReceiveClient(source, auth=there(), prefetch=300)
    events = []
    deadline = time.time() + job["seconds"]
    try:
        while len(events) < job["count"] and time.time() < deadline:
            events.extend(described(message) for message in client.receive_message_batch(timeout=500))
    finally:
        client.close()

    client = uamqp.AMQPClient(uri.replace("sb:", "amqps:"), auth=there())
    client.open()
    try:
        answer = client.mgmt_request(
            uamqp.Message(application_properties={"name": uri.rsplit("/", 1)[1]}),
            constants.READ_OPERATION,
            op_type=b"com.microsoft:eventhub",
            status_code_field=b"status-code",
            description_fields=b"status-description",
        )
        return {"redirect": seen, "events": events, "management": text(answer.get_data())}
    finally:
        client.close()


def send_slowly(job, auth):
    """Sends one message after the other. With "isStubborn", a client that has failed gives way to a new one."""
    client = sender(job, auth)
    failures = []
    try:
        for init in job["messages"]:
            while True:
                try:
                    client.send_message(message_of(init))
                    break
                except Exception as error:  # Whatever it is, the case has to see it.
                    if not job.get("isStubborn") or len(failures) == 10:
                        raise
                    failures.append(type(error).__name__)
                    quietly_closed(client)
                    client = sender(job, AUTHENTICATIONS[job["auth"]](job))
            time.sleep(job["interval"])
    finally:
        quietly_closed(client)
    return {"failures": failures}


def quietly_closed(client):
    try:
        client.close()
    except Exception:  # It has failed before, or the case will see that nothing is closed.
        pass


def pair(job, auth):
    """A receiver and a sender at one address, over one connection, by attach properties that make them a pair."""
    properties = symbolic(
        {"com.microsoft:api-version": "2021-04-12", "com.microsoft:channel-correlation-id": str(uuid.uuid4())}
    )
    incoming = receiver(job, auth, link_properties=properties)
    incoming.open()
    outgoing = sender(job, auth, link_properties=properties)
    outgoing.open(connection=incoming._connection)
    if job["auth"] != "cbs":
        # They have a session each, and uAMQP begins none on a connection that is open: both are to be asked for before
        # it is. By CBS they share the session of the tokens.
        for client in (incoming, outgoing):
            client._client_ready()
    while not all([client.client_ready() for client in (incoming, outgoing)]):
        pass
    return incoming, outgoing


def received(client, deadline):
    """What comes before the deadline, accepted."""
    while time.time() < deadline:
        for message in client.receive_message_batch(max_batch_size=1, timeout=200):
            message.accept()
            yield message


def body_of(message):
    return b"".join(message.get_data()).decode()


def methods(job, auth):
    """Answers calls with what they were given."""
    incoming, answers = pair(job, auth)
    calls = []
    for call in received(incoming, time.time() + job["seconds"]):
        calls.append({"name": text(call.application_properties)["IoThub-methodname"], "payload": body_of(call)})
        answers.send_message(
            uamqp.Message(
                body_of(call),
                properties=uamqp.message.MessageProperties(correlation_id=call.properties.correlation_id),
                application_properties={"IoThub-status": types.AMQPInt(job["status"])},
            )
        )
        if len(calls) == job["count"]:
            break
    answers.close()
    incoming.close()
    return {"calls": calls}


def twin(job, auth):
    """Reads a twin, reports a patch, and waits for a change of what is desired."""
    incoming, requests = pair(job, auth)
    coming = received(incoming, time.time() + job["seconds"])

    def ask(operation, resource=None, body=" "):
        request_id = str(uuid.uuid4())
        annotations = {"operation": operation, **({"resource": resource} if resource else {})}
        requests.send_message(
            uamqp.Message(
                body,
                properties=uamqp.message.MessageProperties(correlation_id=request_id),
                annotations=symbolic(annotations),
            )
        )
        for answer in coming:
            if text(answer.properties.correlation_id) == request_id:
                return {**text(answer.annotations), "body": body_of(answer)}

    seen = {
        "got": ask("GET"),
        "reported": ask("PATCH", "/properties/reported", json.dumps(job["patch"])),
        "subscribed": ask("PUT", "/notifications/twin/properties/desired"),
    }
    seen["change"] = body_of(next(coming))
    requests.close()
    incoming.close()
    return seen


JOBS = {
    "attach": attach,
    "send": send,
    "sendSlowly": send_slowly,
    "receive": receive,
    "telemetry": telemetry,
    "methods": methods,
    "twin": twin,
}


def main():
    job = json.load(sys.stdin)
    try:
        result = JOBS[job["do"]](job, AUTHENTICATIONS[job["auth"]](job))
        line = "OK " + json.dumps(result)
    except Exception as error:  # Whatever it is, the case has to see it.
        line = "FAILED " + json.dumps({"name": type(error).__name__, "message": str(error)})
    print(line, flush=True)
    os._exit(0)


main()
