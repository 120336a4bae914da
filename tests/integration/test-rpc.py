#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rpc room and the real oslo.messaging understand each other over a real RabbitMQ: casts, calls, notifications and
refusals, exactly as nova sends them. Our side is tests/tools/rpc-peer. The RabbitMQ of NOVASNAP_TEST_AMQP_URL is used
where that is set."""
import glob
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import kombu.compression
import oslo_messaging

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from broker import broker_for_tests  # noqa: E402
from environment import Environment  # noqa: E402
from rpc_peers import LIMIT_S, Names, Oslo, Peer, check, equal, wait_until  # noqa: E402

CONTEXT = {"user_id": "u1", "project_id": "p1", "auth_token": "gAAAAAsecret", "roles": ["r"]}


class Rpc(Environment):
    services = ("broker",)

    def make_broker(self):
        # RabbitMQ 4 refuses more than 16 MiB by default, as novasnapd does.
        return broker_for_tests(self.folder, options=["max_message_size = 134217728"])

    def names(self):
        return Names(self.broker.url)


def test_casts_and_calls_of_oslo_reach_our_server(env):
    with env.names() as n, Peer(n) as peer, Oslo(n) as oslo:
        peer.serve()
        client = oslo.client()
        client.cast(CONTEXT, "echo", text="cast", ratio=1.0, big=2**70)
        request = peer.request("echo")
        equal(request["args"]["text"], "cast", "args")
        equal(request["call"], False, "a cast")
        equal(request["user"], "u1", "the context's user")
        equal(request["version"], "6.0", "the version")
        args = {"text": "ü \U0001f600", "ratio": 1.0, "big": 2**70, "none": None}
        equal(client.call(CONTEXT, "echo", **args), args, "the reply")
        check(peer.request("echo")["call"], "a call")
        # To any host of the topic, and to all of them.
        client.prepare(server=None).cast(CONTEXT, "echo", text="topic")
        equal(peer.request("echo")["args"]["text"], "topic", "args")
        client.prepare(server=None, fanout=True).cast(CONTEXT, "echo", text="fanout")
        equal(peer.request("echo")["args"]["text"], "fanout", "args")


def raises(function, kind):
    try:
        result = function()
    except Exception as error:
        equal(type(error).__name__.replace("_Remote", ""), kind, f"the exception {error}")
        return str(error)
    raise AssertionError(f"no {kind}, but {result!r}")


def test_refusals_reach_oslo_as_its_own_exceptions(env):
    with env.names() as n, Peer(n) as peer, Oslo(n) as oslo:
        peer.serve()
        client = oslo.client()
        said = raises(lambda: client.call({}, "no_such", a=1), "NoSuchMethod")
        check("no_such" in said, said)
        for version in ("6.6", "7.0", "5.14"):
            said = raises(
                lambda v=version: client.prepare(version=v).call({}, "echo"), "UnsupportedVersion")
            check(version in said, said)
        raises(lambda: client.prepare(namespace="baseapi").call({}, "echo"), "UnsupportedVersion")
        raises(lambda: client.call({}, "raise"), "ValueError")
        said = raises(lambda: client.call({}, "refuse"), "ValueError")
        check("cannot be used" in said, said)
        for version in ("5.0", "5.13", "6.5"):
            equal(client.prepare(version=version).call({}, "echo"), {}, "a version served")
        # Casts are only logged, and are not delivered again.
        client.cast({}, "no_such")
        peer.event(lambda e: e["event"] == "unhandled" and e["method"] == "no_such" and not e["moved"])
        client.prepare(version="6.6").cast({}, "echo")
        peer.event(lambda e: e["event"] == "unhandled" and e["method"] == "echo" and not e["moved"])
        check("gAAAAA" not in peer.text(), "a token in the log")


# A header of each kind that a client may add.
MARKS = {"text": "ü", "number": -(2**40), "flag": True, "list": [1, {"deep": "x"}], "none": None}


def take_all(n, queue, count):
    """Removes that many messages from a queue, in its order."""
    taken = []
    with n.connection() as connection:
        channel = connection.channel()

        def take():
            message = channel.basic_get(queue, no_ack=True)
            if message:
                taken.append(message)
            return len(taken) >= count
        wait_until(f"{count} messages in {queue}", take)
        check(channel.basic_get(queue, no_ack=True) is None, "one message too many")
    return taken


def test_casts_that_are_not_served_are_moved_byte_for_byte(env):
    with env.names() as n:
        queue = f"novasnap.unhandled.{n.topic}"
        with Peer(n, "--unhandled", queue) as peer, Oslo(n) as oslo:
            peer.serve()
            client = oslo.client()
            own = f"{n.topic}.{n.host}"
            bodies = [json.dumps({"method": f"no_such_{i}", "args": {"ratio": 1.0, "big": 2**70}, "version": "6.0"}
                                 ).encode() for i in range(20)]
            for i, body in enumerate(bodies):
                n.publish(own, body, headers=MARKS, priority=3, correlation_id=f"c{i}", expiration=600,
                          message_id="", app_id="app", delivery_mode=1)
            # A version that is not served, to any host of the topic.
            client.prepare(version="7.0", server=None).cast({}, "echo")
            # An encoding that cannot be read, whose body is not even text.
            # What the broker makes of the headers itself: RabbitMQ 4.3 reads a negative number of py-amqp as a positive one.
            with n.connection() as connection:
                connection.channel().queue_declare(f"{n.topic}-reference", auto_delete=False)
            n.publish(f"{n.topic}-reference", b"", exchange="", headers=MARKS)
            marks = take_all(n, f"{n.topic}-reference", 1)[0].headers
            n.publish(own, b"\x00\xff", content_encoding="x-unknown", headers={"compression": "application/x-none"})
            # A call is answered; a fanout is not for this host's nova-compute, which has no queue of it now.
            raises(lambda: client.call({}, "no_such", a=1), "NoSuchMethod")
            client.prepare(server=None, fanout=True).cast({}, "no_such_fanout")
            peer.event(lambda e: e["event"] == "unhandled" and e["method"] == "no_such_fanout" and not e["moved"])
            taken = take_all(n, queue, len(bodies) + 2)
            equal([bytes(message.body, "utf-8") if isinstance(message.body, str) else bytes(message.body)
                   for message in taken[:len(bodies)]], bodies, "the bodies, in their order")
            for i, message in enumerate(taken[:len(bodies)]):
                equal(message.headers, marks, "the headers")
                equal({key: value for key, value in message.properties.items() if key != "application_headers"},
                      {"content_type": "application/json", "content_encoding": "utf-8", "delivery_mode": 1,
                       "priority": 3, "correlation_id": f"c{i}", "expiration": "600000", "message_id": "",
                       "app_id": "app"}, "the properties")
            equal(n.depth(own), 0, "what is left for nova-compute")
            client.cast({}, "echo", text="served")
            equal(peer.request("echo")["args"]["text"], "served", "what is served")
            check("no_such_1" not in peer.text(), "the method in the log")
        for name in (queue, f"{n.topic}-reference"):
            Names.delete(n.connection(), "queue_delete", name)


def test_a_full_queue_for_unhandled_casts_keeps_no_other_cast_waiting(env):
    """Nothing is lost while it is full: what waits is moved once there is room."""
    with env.names() as n:
        queue = f"novasnap.unhandled.{n.topic}"
        with n.connection() as connection:
            connection.channel().queue_declare(queue, durable=True, auto_delete=False,
                                               arguments={"x-max-length": 3, "x-overflow": "reject-publish"})
        with Peer(n, "--unhandled", queue, "--prefetch", "20") as peer, Oslo(n) as oslo:
            peer.serve()
            client = oslo.client()
            for i in range(8):
                client.cast({}, f"no_such_{i}")
            peer.wait_log("is full, or the broker cannot store it")
            client.cast({}, "echo", text="served")
            equal(peer.request("echo")["args"]["text"], "served", "what is served meanwhile")
            equal(n.depth(queue), 3, "the messages that have room")
            names = []
            while len(names) < 8:
                with n.connection() as connection:
                    message = connection.channel().basic_get(queue, no_ack=True)
                if message:
                    names.append(json.loads(json.loads(message.body)["oslo.message"])["method"])
                else:
                    time.sleep(0.2)
            equal(names, [f"no_such_{i}" for i in range(8)], "the order")
        Names.delete(n.connection(), "queue_delete", queue)


def test_a_slow_call_is_kept_alive_for_the_call_monitor_of_oslo(env):
    with env.names() as n, Peer(n) as peer, Oslo(n) as oslo:
        peer.serve()
        client = oslo.client().prepare(call_monitor_timeout=2, timeout=LIMIT_S)
        equal(client.call({}, "slow", seconds=5), {"seconds": 5}, "the reply")


class Endpoint:
    """A stand-in for nova's conductor, on a real server of oslo.messaging."""

    target = oslo_messaging.Target(version="3.0")

    def __init__(self):
        self.contexts = []

    def object_action(self, context, objmethod):
        self.contexts.append(context)
        if objmethod == "raise":
            raise ValueError("raised as asked")
        if objmethod == "sleep":
            time.sleep(5)
        if objmethod == "none":
            return None
        # The class that nova raises, without nova.
        if objmethod.endswith("Error") or objmethod.endswith("Found"):
            kind = type(objmethod, (Exception,), {"__module__": "nova.exception"})
            raise kind(f"Conflict updating instance: {objmethod}")
        return {"updates": {"a": 1.0}, "big": 2**70}


# enum rpc_error
FAILED, CONFIG, DECODE, DISCONNECTED, OUTBOX_FULL, NOT_CONFIRMED, REFUSED, TIMEOUT, REMOTE = range(9)
UNEXPECTED_TASK_STATE, UNEXPECTED_DELETING, INSTANCE_NOT_FOUND = range(9, 12)


def test_our_client_calls_the_server_of_oslo(env):
    with env.names() as n, Peer(n) as peer, Oslo(n) as oslo:
        endpoint = Endpoint()
        oslo.serve(endpoint)

        def call(objmethod, version="3.0", method="object_action", **more):
            return dict(topic=n.other, method=method, version=version, context=CONTEXT,
                        args={"objmethod": objmethod}, **more)

        result = peer.run("call", **call("fine"))
        equal(result["updates"], {"a": 1.0}, "the result")
        equal({k: endpoint.contexts[0].get(k) for k in CONTEXT}, CONTEXT, "the context")
        equal(peer.run("call", **call("none")), None, "a result that is None")
        for objmethod, code in (
            ("UnexpectedTaskStateError", UNEXPECTED_TASK_STATE),
            ("UnexpectedDeletingTaskStateError", UNEXPECTED_DELETING),
            ("InstanceNotFound", INSTANCE_NOT_FOUND),
            ("OtherError", REMOTE),
        ):
            failure = peer.fails("call", **call(objmethod))
            equal(failure["code"], code, failure["error"])
            equal(failure["class"], objmethod, "the class")
            equal(failure["module"], "nova.exception", "the module")
        failure = peer.fails("call", **call("raise"))
        equal((failure["class"], failure["module"]), ("ValueError", "builtins"), "the class")
        check("raised as asked" in failure["error"], failure["error"])
        failure = peer.fails("call", **call("fine", version="3.1"))
        equal(failure["class"], "UnsupportedVersion", failure["error"])
        failure = peer.fails("call", **call("fine", method="none_such"))
        equal(failure["class"], "NoSuchMethod", failure["error"])
        equal(peer.fails("call", **call("sleep", timeout=1))["code"], TIMEOUT, "the time limit")
        # A late reply has no effect.
        equal(peer.run("call", **call("none", timeout=LIMIT_S)), None, "the next result")


def test_a_message_that_no_queue_takes_is_an_error(env):
    with env.names() as n, Peer(n) as peer:
        for what, more in (("call", {"timeout": 1}), ("cast", {})):
            failure = peer.fails(what, topic="nobody", method="m", version="1.0", args={}, **more)
            equal(failure["code"], NOT_CONFIRMED, failure["error"])
        failure = peer.fails("publish", topic="nobody", body="{}")
        equal(failure["code"], NOT_CONFIRMED, failure["error"])


def taken(n, key, do, queue=None):
    """Returns the properties and body of the message that arrives in a queue of that key while something is done."""
    queue = queue or f"test-{n.topic}"
    with n.connection() as connection:
        channel = connection.channel()
        channel.queue_declare(queue, auto_delete=True)
        channel.queue_bind(queue, n.exchange, key)
        # The queue is read meanwhile, because the message of a call expires with the call.
        with ThreadPoolExecutor(1) as pool:
            doing = pool.submit(do)
            message = wait_until("a message", lambda: channel.basic_get(queue, no_ack=True))
            doing.result()
        channel.queue_delete(queue)
    body = json.loads(message.body)
    return message.properties, body, json.loads(body["oslo.message"])


def test_a_call_that_is_published_late_expires_with_its_time_limit(env):
    """Else the conductor would execute it after its caller has given up, and has sent it again."""
    limit_s, late_s = 6, 3
    with env.names() as n, Peer(n) as peer, ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        call = pool.submit(peer.fails, "call", topic="late", method="m", version="1.0", args={}, timeout=limit_s)
        # Until then no queue takes it.
        time.sleep(late_s)
        properties, _, _ = taken(n, "late", call.result)
        check(time.monotonic() - began < limit_s + 2, "the time limit of the call")
        left_ms = int(properties["expiration"])
        check(0 < left_ms <= (limit_s - late_s) * 1000 + 500, f"it expires after {left_ms} ms")


# Without the id by which a returned message is recognised: oslo does not set one.
PROPERTIES = {
    "content_type": "application/json", "content_encoding": "utf-8", "application_headers": {},
    "delivery_mode": 2, "priority": 0,
}


def test_properties_and_the_order_of_keys_are_those_of_nova(env):
    with env.names() as n, Peer(n) as peer:
        send = dict(method="m", version="3.0", args={"b": 1, "a": 2}, context=CONTEXT)
        context = [f"_context_{key}" for key in CONTEXT]

        properties, envelope, message = taken(
            n, "k", lambda: peer.fails("call", topic="k", timeout=1, **send))
        check(len(properties.pop("message_id")) == 32, "the id of a call")
        equal(properties, {**PROPERTIES, "expiration": "1000"}, "a call's properties")
        equal(list(envelope), ["oslo.version", "oslo.message"], "the envelope")
        equal(envelope["oslo.version"], "2.0", "the envelope")
        equal(list(message), ["method", "args", "version", "_msg_id", "_reply_q", "_timeout",
                              "_unique_id", *context], "a call's keys")
        equal(message["_timeout"], None, "_timeout")
        check(message["_reply_q"].startswith("reply_"), message["_reply_q"])
        equal(list(message["args"]), ["b", "a"], "args in their order")

        properties, _, message = taken(n, "k", lambda: peer.run("cast", topic="k", **send))
        check(len(properties.pop("message_id")) == 32, "the id of a cast")
        equal(properties, PROPERTIES, "a cast's properties")
        equal(list(message), ["method", "args", "version", "_unique_id", *context], "a cast's keys")
        equal(message["_context_auth_token"], "gAAAAAsecret", "the token of a cast")

        properties, _, message = taken(
            n, "k.info",
            lambda: peer.run("notify", topic="k", event_type="e", args={"p": 1}, context=CONTEXT))
        with n.connection() as connection:
            connection.channel().queue_delete("k.info")
        equal(properties, PROPERTIES, "a notification's properties")
        equal(list(message), ["message_id", "publisher_id", "event_type", "priority", "payload",
                              "timestamp", "_unique_id", *context], "a notification's keys")
        equal(message["_context_auth_token"], None, "the token of a notification")
        time.strptime(message["timestamp"], "%Y-%m-%d %H:%M:%S.%f")


class Listener:
    def __init__(self):
        self.taken = []

    def info(self, context, publisher_id, event_type, payload, metadata):
        self.taken.append(("info", context, publisher_id, event_type, payload, metadata))

    def error(self, context, publisher_id, event_type, payload, metadata):
        self.taken.append(("error", context, publisher_id, event_type, payload, metadata))


def delete_queues(n, *queues):
    with n.connection() as connection:
        for name in queues:
            connection.channel().queue_delete(name)


def test_the_listener_of_oslo_takes_our_notifications(env):
    topic = "notifications-test"
    with env.names() as n, Peer(n) as peer, Oslo(n) as oslo:
        try:
            peer.run("notify", topic=topic, event_type="first", args={"p": 1}, context=CONTEXT)
            wait_until("it is in its queue", lambda: n.depth(f"{topic}.info") == 1)
            listener = Listener()
            oslo.listen([topic], listener)
            # The listener has a pool's queue, which begins empty.
            peer.run("notify", topic=topic, event_type="second", args={"p": 2.0}, context=CONTEXT)
            peer.run("notify", topic=topic, event_type="third", error=1, context=CONTEXT)
            wait_until("both are taken", lambda: len(listener.taken) == 2)
            priority, context, publisher, event, payload, _ = sorted(
                listener.taken, key=lambda one: one[3])[0]
            equal((priority, publisher, event, payload), ("info", "peer", "second", {"p": 2.0}),
                  "the notification")
            equal(context["user_id"], "u1", "the context")
            equal(context["auth_token"], None, "the token")
            equal(n.depth(f"{topic}.info"), 2, "the queue that nobody reads")
        finally:
            delete_queues(n, f"{topic}.info", f"{topic}.error")


def test_we_listen_to_notifications_of_oslo_beside_others(env):
    with env.names() as n, Peer(n) as peer, Oslo(n) as oslo:
        peer.run("listen")
        peer.run("ready", timeout=LIMIT_S)
        transport = oslo_messaging.get_notification_transport(oslo.conf, n.url)
        notifier = oslo_messaging.Notifier(
            transport, "them", driver="messagingv2", topics=["notifications"])
        transport._driver._default_exchange = n.exchange
        try:
            notifier.info({"user_id": "u1"}, "an.event", {"p": 1.0})
            notifier.error({}, "bad.event", {})
            event = peer.event(lambda e: e["event"] == "notified")
            equal(event["event_type"], "an.event", "the event")
            equal(event["message"]["payload"], {"p": 1.0}, "the payload")
            event = peer.event(lambda e: e["event"] == "notified")
            equal(event["event_type"], "bad.event", "the event")
        finally:
            transport.cleanup()
            # On a shared broker, queues with nova's own names belong to another test.
            with n.connection() as connection:
                for name in ("notifications.info", "notifications.error"):
                    connection.channel().queue_unbind(name, n.exchange, name)


def test_a_message_that_cannot_be_decoded_is_kept_without_its_token(env):
    folder = env.folder.make("rejected")
    with env.names() as n, Peer(n, "--rejected-dir", folder) as peer:
        peer.serve()
        own = f"{n.topic}.{n.host}"
        bodies = [
            b"no json",
            b"",
            b"\xff\xfe",
            b"[1, 2]",
            b'{"args": {}}',
            b'{"oslo.version": "2.0", "oslo.message": "{\\"_context_auth_token\\": '
            b'\\"gAAAAAsecret\\", \\"_context_user_id\\": \\"u1\\""}',
            b'{"a":' + b"[" * 500 + b"]" * 500 + b"}",
        ]
        for body in bodies:
            n.publish(own, body)
        n.publish(own, json.dumps({
            "method": "refuse", "version": "6.0", "args": {"password": "secret"},
            "_context_auth_token": "secret", "_context_user_id": "u1"}).encode())
        n.publish(own, b'{"method": "echo", "version": "6.0", "args": {}}')
        n.publish(own, b'{"method": "%s"}' % (b"x" * (17 * 1024 * 1024)))
        n.publish(own, b'{"method": "echo", "version": "6.0", "args": {"p": "%s"}}'
                  % (b"x" * 1000000))
        peer.request("refuse")
        equal(peer.request("echo")["args"], {}, "the next good one")
        equal(len(peer.request("echo")["args"]["p"]), 1000000, "one of many frames")
        peer.wait_log("over the limit")
        files = wait_until(
            "all are kept",
            lambda: (lambda found: found if len(found) == len(bodies) + 2 else None)(
                glob.glob(f"{folder}/*")))
        text = ""
        for path in files:
            equal(os.stat(path).st_mode & 0o777, 0o600, "the file's mode")
            with open(path, encoding="utf-8") as file:
                text += file.read()
        check("secret" not in text, f"a secret is kept: {text}")
        check(text.count("u1") == 2, f"the rest is not kept: {text}")
        check("secret" not in peer.text(), "a secret is logged")
        equal(peer.close(), 0, "the end")
        equal(n.depth(own), 0, "messages not acked")


def test_compressed_messages_of_oslo_are_read(env):
    """Whatever [oslo_messaging_rabbit]kombu_compression the senders have; our own messages are not compressed."""
    methods = sorted(kombu.compression.encoders())
    check({"application/x-gzip", "application/x-bz2", "application/x-lzma"} <= set(methods), methods)
    for method in methods:
        with env.names() as n, Peer(n) as peer, Oslo(n, kombu_compression=method) as oslo:
            peer.serve()
            equal(oslo.client().call(CONTEXT, "echo", text="x" * 3000000), {"text": "x" * 3000000}, method)
            oslo.client().cast(CONTEXT, "echo", n=1)
            peer.event(lambda e: e["event"] == "request" and e["args"] == {"n": 1})
            # The conductor's replies, too.
            oslo.serve(Endpoint())
            result = peer.run("call", topic=n.other, method="object_action", version="3.0", context=CONTEXT,
                              args={"objmethod": "fine"})
            equal(result["updates"], {"a": 1.0}, "the result")
            equal(peer.fails("call", topic=n.other, method="object_action", version="3.0", context=CONTEXT,
                             args={"objmethod": "raise"})["class"], "ValueError", "the exception")
            # And what `novasnap record` and `watch` listen to.
            peer.run("listen")
            peer.run("ready", timeout=LIMIT_S)
            n.publish("notifications.info", json.dumps({"event_type": "compressed"}).encode(), compression=method)
            equal(peer.event(lambda e: e["event"] == "notified")["event_type"], "compressed", "the event")


def test_messages_that_oslo_does_not_read_either(env):
    """Each is acked, and kept: with its body only where that is text in which secrets are found."""
    folder = env.folder.make("unsupported")
    body = json.dumps({"method": "echo", "version": "6.0", "args": {"n": 0}, "_context_auth_token": "secret"}).encode()
    with env.names() as n, Peer(n, "--rejected-dir", folder) as peer:
        peer.serve()
        own = f"{n.topic}.{n.host}"
        for properties, words in (
            ({"headers": {"compression": "application/x-other"}}, ["# unreadable: ", "application/x-other"]),
            ({"headers": {"compression": 5}}, ["# unreadable: ", "not a string"]),
            ({"content_type": "application/x-python-serialize"}, ["# unreadable: ", "x-python-serialize"]),
            ({"content_type": "text/plain"}, ["text/plain", "_context_auth_token"]),
            ({"headers": {"compression": "gzip"}}, ["malformed"]),
            ({"content_encoding": "utf-16", "body": body.decode().encode("utf-16")}, ["# unreadable: ", "UTF-8"]),
        ):
            n.publish(own, properties.pop("body", body), **properties)
            path, = wait_until("a file", lambda: glob.glob(f"{folder}/*"))
            with open(path, encoding="utf-8") as file:
                kept = file.read()
            os.unlink(path)
            check(all(word in kept for word in words), kept)
            check("secret" not in kept and "s\ufffde" not in kept, kept)
        # These say nothing of how a message is read.
        for number, properties in enumerate((
                {"content_encoding": "binary"}, {"content_encoding": "latin-1"},
                {"headers": {"compression": ""}}, {"headers": {"x-death": [{"count": 1}], "compression": None}},
                {"delivery_mode": 1}, {"priority": 9}, {"expiration": 60}, {"correlation_id": "c", "reply_to": "r"},
                {"message_id": "m", "type": "t", "user_id": "guest", "app_id": "a"}), 1):
            n.publish(own, body.replace(b'"n": 0', b'"n": %d' % number), **properties)
            equal(peer.request("echo")["args"], {"n": number}, f"with {properties}")
        # No property at all.
        with n.connection() as connection:
            channel = connection.channel()
            channel.basic_publish(channel.prepare_message(body), exchange=n.exchange, routing_key=own)
        equal(peer.request("echo")["args"], {"n": 0}, "without properties")
        equal(os.listdir(folder), [], "what is kept")
        check("secret" not in peer.text(), "a secret is logged")
        equal(peer.close(), 0, "the end")
        equal(n.depth(own), 0, "messages not acked")


def test_duplicates_are_dropped_and_what_was_not_acked_comes_again(env):
    with env.names() as n, Peer(n) as peer:
        peer.serve()
        own = f"{n.topic}.{n.host}"

        def send(method, unique_id, number):
            n.publish(own, json.dumps({"method": method, "version": "6.0", "args": {"n": number},
                                       "_unique_id": unique_id}).encode())

        send("echo", "one", 1)
        send("echo", "one", 2)
        send("echo", "two", 3)
        equal([peer.request("echo")["args"]["n"] for _ in range(2)], [1, 3], "those taken")
        send("keep", "three", 4)
        equal(peer.request("keep")["args"]["n"], 4, "the one kept")
        with n.connection() as connection:
            # When its queue is deleted, the consumer ends and the connection is opened again.
            connection.channel().queue_delete(n.topic)
        equal(peer.request("keep")["args"]["n"], 4, "the one kept, again")
        peer.run("ready", timeout=LIMIT_S)
        equal(n.depth(n.topic), 0, "the queue that was deleted")
        equal(peer.close(), 0, "the end")
        equal(n.depth(own), 1, "messages not acked")


def test_a_duplicate_of_a_request_that_is_not_acked_yet_is_acked(env):
    with env.names() as n, Peer(n) as peer:
        peer.serve()
        own = f"{n.topic}.{n.host}"
        body = json.dumps({"method": "hold", "version": "6.0", "args": {"seconds": 2}, "_unique_id": "one"}).encode()
        for _ in range(3):
            n.publish(own, body)
        peer.wait_log("a duplicate of message", 2)
        peer.request("hold")
        time.sleep(1)
        equal(peer.close(), 0, "the end")
        equal(n.depth(own), 0, "messages not acked")


def test_a_server_that_is_stopped_or_paused_serves_again_afterwards(env):
    with env.names() as n, Peer(n, "--prefetch", "10") as peer, Oslo(n) as oslo:
        peer.serve()
        client = oslo.client()
        equal(client.call({}, "echo", n=1), {"n": 1}, "the reply")
        peer.request("echo")
        slow = client.prepare(timeout=LIMIT_S)
        peer.fails("resume")
        for number, (stop, start) in enumerate((("stop", "serve"), ("pause", "resume")), 2):
            peer.run(stop)
            slow.cast({}, "echo", n=number)
            wait_until("it stays", lambda: n.depth(f"{n.topic}.{n.host}") == 1)
            check(not peer.seen(lambda e: e["event"] == "request"), f"a request after {stop}")
            peer.run(start)
            equal(peer.request("echo")["args"], {"n": number}, "the request that waited")


def test_exchange_and_queues_that_others_declared_durable_are_used(env):
    with env.names() as n:
        with n.connection() as connection:
            channel = connection.channel()
            channel.exchange_declare(n.exchange, "topic", durable=True, auto_delete=False)
            channel.exchange_declare(
                f"{n.topic}_fanout", "fanout", durable=True, auto_delete=False)
            channel.queue_declare(f"{n.topic}.{n.host}", durable=True, auto_delete=False)
        with Peer(n) as peer, Oslo(n, durable=True) as oslo:
            peer.serve()
            equal(oslo.client().call({}, "echo", n=1), {"n": 1}, "the reply")
            peer.wait_log("PRECONDITION_FAILED")
            peer.wait_log("amqp_durable_queues")
            # Publisher confirms still work after a refused declaration.
            peer.run("cast", topic=f"{n.topic}.{n.host}", method="echo", version="6.0", args={})


def test_with_amqp_durable_queues_all_is_declared_as_oslo_does(env):
    with env.names() as n, Peer(n, "--durable") as peer, Oslo(n, durable=True) as oslo:
        peer.serve()
        equal(oslo.client().call({}, "echo", n=1), {"n": 1}, "the reply")
        with n.connection() as connection:
            channel = connection.channel()
            # The broker would refuse these if they were declared differently.
            channel.exchange_declare(n.exchange, "topic", durable=True, auto_delete=False)
            channel.queue_declare(n.topic, durable=True, auto_delete=False)
            channel.exchange_declare(f"{n.topic}_fanout", "fanout", durable=False, auto_delete=True)
        check("PRECONDITION_FAILED" not in peer.text(), "a declaration was refused")


if __name__ == "__main__":
    tap.main(Rpc)
