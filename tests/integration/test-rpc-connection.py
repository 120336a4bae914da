#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rpc room behaves as documented when the broker is down, blocked or mute, or is not the expected one. The tests
stop and starve a real, private RabbitMQ. A stand-in for the network cuts and silences connections. Our side is
tests/tools/rpc-peer, the other side is the real oslo.messaging."""
import contextlib
import json
import os
import struct
import sys
import time

import oslo_messaging

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from broker import Broker  # noqa: E402
from certificates import Authority  # noqa: E402
from environment import Environment  # noqa: E402
from process import free_port  # noqa: E402
from rpc_peers import LIMIT_S, Names, Oslo, Peer, check, equal, wait_until  # noqa: E402
from standin_network import NetworkStandIn  # noqa: E402

DISCONNECTED, REFUSED = 3, 6


class Connections(Environment):
    services = ("broker",)
    own_broker = True

    def make_broker(self):
        self.authority, self.other_authority = Authority(self.folder), Authority(self.folder, "other-ca")
        tls = (self.authority.certificate, *self.authority.issue("server", "DNS:localhost"))
        return Broker(self.folder, tls, verify_clients=False)

    def before_test(self):
        if not self.broker.is_up():
            self.broker.start()

    def names(self):
        return Names(self.broker.url)

    def url_by(self, network):
        return self.broker.url.replace(str(self.broker.port), str(network.port))


def call_self(n, number, **more):
    """Makes a call that our own server answers."""
    return dict(topic=f"{n.topic}.{n.host}", method="echo", version="6.0", args={"n": number},
                timeout=LIMIT_S, **more)


def test_the_broker_is_restarted_between_two_casts_and_a_third_waits_for_it(env):
    with env.names() as n, Peer(n) as peer:
        peer.serve()
        own = f"{n.topic}.{n.host}"
        with Oslo(n) as oslo:
            oslo.client().cast({}, "echo", n=1)
            equal(peer.request("echo")["args"], {"n": 1}, "the first cast")
        env.broker.stop()
        peer.wait_log("the consuming connection is lost")
        peer.wait_log("the publishing connection is lost")
        waits = peer.do("call", **call_self(n, 3))
        env.broker.start()
        equal(peer.done(waits), {"n": 3}, "the reply to what waited")
        equal(peer.request("echo")["args"], {"n": 3}, "what waited")
        peer.run("ready", timeout=LIMIT_S)
        peer.wait_log("consuming again at")
        peer.wait_log("publishing again at")
        with Oslo(n) as oslo:
            oslo.client().cast({}, "echo", n=2)
            equal(peer.request("echo")["args"], {"n": 2}, "the second cast")
        wait_until("all is acked", lambda: n.depth(own) == 0)


def test_the_broker_is_started_after_us(env):
    env.broker.stop()
    try:
        with env.names() as n, Peer(n, ready=False) as peer:
            peer.wait_log("cannot consume yet")
            failure = peer.fails("call", **dict(call_self(n, 1), timeout=1))
            equal(failure["code"], DISCONNECTED, failure["error"])
            peer.do("serve")
            env.broker.start()
            peer.run("ready", timeout=LIMIT_S)
            equal(peer.run("call", **call_self(n, 1)), {"n": 1}, "the reply")
    finally:
        if not env.broker.is_up():
            env.broker.start()


def test_a_full_outbox_refuses_more_and_publishes_later(env):
    topic = "notifications-full"
    with env.names() as n, Peer(n, "--outbox", "2") as peer:
        env.broker.stop()
        try:
            peer.wait_log("the publishing connection is lost")
            for number in range(2):
                peer.run("notify", topic=topic, event_type=f"e{number}")
            peer.run("notify", topic=topic, event_type="e2")
            peer.wait_log("lost the notification e2")
        finally:
            env.broker.start()
        wait_until("both are published", lambda: n.depth(f"{topic}.info") == 2)
        delete_queue(n, f"{topic}.info")


def test_state_end_and_error_messages_find_room_in_a_full_outbox(env):
    topic = "notifications-vital"
    with env.names() as n, Peer(n, "--outbox", "4") as peer:
        peer.serve()
        equal(peer.run("call", **call_self(n, 0)), {"n": 0}, "the reply")
        peer.request("echo")
        env.broker.stop()
        try:
            peer.wait_log("the publishing connection is lost")
            # Progress that has expired leaves its place to others; progress that has not gives way.
            for number in range(4):
                peer.run("progress", topic=topic, event_type=f"old{number}")
            time.sleep(6)
            for number in range(2):
                peer.run("notify", topic=topic, event_type=f"instance.snapshot.start{number}")
            for number in range(4):
                peer.run("progress", topic=topic, event_type=f"new{number}")
            for number in range(2, 4):
                peer.run("notify", topic=topic, event_type=f"instance.snapshot.start{number}")
            for number in range(5):
                peer.run("notify", topic=topic, event_type="instance.snapshot.end")
            peer.run("notify", topic=topic, event_type="bad", error=1)
            waits = peer.do("call", **call_self(n, 1))
            time.sleep(0.5)
            check(not peer.seen(lambda e: e["event"] == "done" and e["id"] == waits), peer.text())
        finally:
            env.broker.start()
        equal(peer.done(waits), {"n": 1}, "the reply to what waited")
        wait_until("all are published",
                   lambda: (n.depth(f"{topic}.info"), n.depth(f"{topic}.error")) == (9, 1))
        kinds = [message["event_type"] for message in bodies(n, f"{topic}.info")]
        equal([kind for kind in kinds if kind.endswith(".end")], ["instance.snapshot.end"] * 5, "ends")
        delete_queue(n, f"{topic}.info")
        delete_queue(n, f"{topic}.error")
        check("lost the notification" not in peer.text(), peer.text())


def delete_queue(n, name):
    with n.connection() as connection:
        connection.channel().queue_delete(name)


def bodies(n, name):
    found = []
    with n.connection() as connection:
        channel = connection.channel()
        while True:
            message = channel.basic_get(name, no_ack=True)
            if not message:
                return found
            found.append(json.loads(json.loads(message.body)["oslo.message"]))


def cast_to(n, key, name, size=10, **more):
    return dict(topic=key, method=name, version="1.0", args={"text": "x" * size}, **more)


def make_queue(n, name, *keys):
    with n.connection() as connection:
        channel = connection.channel()
        channel.exchange_declare(n.exchange, "topic", durable=False, auto_delete=False)
        channel.queue_declare(name, auto_delete=False)
        for key in keys:
            channel.queue_bind(name, n.exchange, key)


def test_a_message_that_is_too_large_for_the_broker_fails_alone(env):
    default = env.broker.ctl("eval", "{ok, Size} = application:get_env(rabbit, max_message_size), Size.").strip()
    env.broker.limit_messages(100000)
    try:
        with env.names() as n, Peer(n) as peer:
            queue = f"test-{n.topic}"
            make_queue(n, queue, "k")
            for _ in range(3):
                casts = [peer.do("cast", **cast_to(n, "k", f"m{i}")) for i in range(3)]
                large = peer.do("cast", **cast_to(n, "k", "large", 200000))
                casts += [peer.do("cast", **cast_to(n, "k", f"m{i}")) for i in range(3, 6)]
                failure = peer.outcome(large)
                equal(failure.get("code"), REFUSED, failure)
                check("larger than" in failure["error"], failure["error"])
                for cast in casts:
                    peer.done(cast)
            peer.serve()
            equal(peer.run("call", **call_self(n, 1)), {"n": 1}, "the reply")
            check("the publishing connection is lost" not in peer.text(), peer.text())
            unique = {message["_unique_id"]: message["method"] for message in bodies(n, queue)}
            equal(sorted(unique.values()), sorted([f"m{i}" for i in range(6)] * 3), "the others")
            delete_queue(n, queue)
    finally:
        env.broker.limit_messages(default)


def test_a_message_that_permissions_forbid_fails_alone(env):
    with env.names() as n, Peer(n) as peer:
        peer.serve()
        queue = f"test-{n.topic}"
        make_queue(n, queue, "k")
        env.broker.ctl("set_topic_permissions", "guest", n.exchange, "^(k|compute)", ".*")
        try:
            # Without a sender that waits, the log has the reason.
            peer.run("notify", topic="forbidden", event_type="e")
            peer.wait_log("ACCESS_REFUSED")
            failure = peer.fails("cast", **cast_to(n, "forbidden", "m"))
            equal(failure["code"], REFUSED, failure["error"])
            check("ACCESS_REFUSED" in failure["error"], failure["error"])
            peer.run("cast", **cast_to(n, "k", "m"))
            equal(peer.run("call", **call_self(n, 1)), {"n": 1}, "the reply")
            check("the publishing connection is lost" not in peer.text(), peer.text())
        finally:
            env.broker.ctl("clear_topic_permissions", "guest")
            delete_queue(n, queue)
            delete_queue(n, "forbidden.info")


def test_an_exchange_that_was_deleted_is_declared_again_by_the_next_message(env):
    with env.names() as n, Peer(n) as peer:
        peer.run("notify", topic="notifications-again", event_type="e0")
        wait_until("it is there", lambda: n.depth("notifications-again.info") == 1)
        with n.connection() as connection:
            connection.channel().exchange_delete(n.exchange)
        peer.run("notify", topic="notifications-again", event_type="e1")
        wait_until("both are there", lambda: n.depth("notifications-again.info") == 2)
        delete_queue(n, "notifications-again.info")


def test_an_internal_error_of_the_broker_is_no_refusal(env):
    """RabbitMQ closes the connection with 541 when a queue's processes crash: the sender must try again later."""
    def close(data):
        if b"internal" not in data:
            return None
        method = struct.pack(">HHH", 10, 50, 541) + bytes([4]) + b"test" + struct.pack(">HH", 60, 40)
        return struct.pack(">BHI", 1, 0, len(method)) + method + b"\xce"
    with NetworkStandIn(env.broker.port) as network, env.names() as n, Peer(n, url=env.url_by(network)) as peer:
        peer.serve()
        network.answer = close
        failure = peer.fails("call", topic="internal", method="m", version="1.0", args={}, timeout=LIMIT_S)
        network.answer = None
        equal(failure["code"], DISCONNECTED, failure["error"])
        check("541" in failure["error"], failure["error"])
        equal(peer.run("call", **call_self(n, 1)), {"n": 1}, "the reply")


def test_a_message_that_cannot_be_encoded_fails_alone(env):
    with env.names() as n, Peer(n) as peer:
        peer.serve()
        failure = peer.fails("cast", **cast_to(n, "k" * 300, "m"))
        equal(failure["code"], REFUSED, failure["error"])
        equal(peer.run("call", **call_self(n, 1)), {"n": 1}, "the reply")


def test_an_unconfirmed_message_is_published_again_under_the_same_id(env):
    with NetworkStandIn(env.broker.port) as network, env.names() as n:
        queue = f"test-{n.topic}"
        with n.connection() as connection:
            channel = connection.channel()
            channel.exchange_declare(n.exchange, "topic", durable=False, auto_delete=False)
            channel.queue_declare(queue, auto_delete=False)
            channel.queue_bind(queue, n.exchange, "k")
        try:
            with Peer(n, url=env.url_by(network)) as peer:
                # A stand-in for a network that loses the broker's confirms.
                network.silence(deaf=True)
                casts = [peer.do("cast", topic="k", method=f"m{i}", version="1.0")
                         for i in range(3)]
                wait_until("they are in the queue", lambda: n.depth(queue) == 3)
                network.cut()
                network.resume()
                for cast in casts:
                    peer.done(cast)
            found = [message["_unique_id"] for message in bodies(n, queue)]
            equal(len(found), 6, "messages")
            equal(sorted(found[:3]), sorted(found[3:]), "their ids")
        finally:
            delete_queue(n, queue)


def test_a_message_that_was_published_twice_is_taken_once(env):
    with NetworkStandIn(env.broker.port) as network, env.names() as n, Peer(n) as server:
        server.serve()
        other = env.names()
        other.exchange, other.topic, other.host = n.exchange, n.topic, "node2"
        with Peer(other, url=env.url_by(network)) as peer:
            network.silence(deaf=True)
            cast = peer.do("cast", topic=f"{n.topic}.{n.host}", method="echo", version="6.0",
                           args={"n": 1})
            server.request("echo")
            network.cut()
            network.resume()
            peer.done(cast)
            server.wait_log("a duplicate of message")
        equal(server.seen(lambda e: e["event"] == "request"), [], "requests beside the first")


def test_a_mute_connection_is_given_up_and_made_again(env):
    with NetworkStandIn(env.broker.port) as network, env.names() as n:
        with Peer(n, "--heartbeat", "2", url=env.url_by(network)) as peer:
            peer.serve()
            equal(peer.run("call", **call_self(n, 1)), {"n": 1}, "the reply")
            # A stand-in for a broker's host that goes away without closing its connections.
            network.silence(deaf=True, mute=True)
            peer.wait_log("the consuming connection is lost")
            peer.wait_log("the publishing connection is lost")
            network.resume()
            equal(peer.run("call", **call_self(n, 2)), {"n": 2}, "the next reply")


def test_heartbeats_keep_an_idle_connection(env):
    with env.names() as n, Peer(n, "--heartbeat", "1") as peer:
        peer.serve()
        time.sleep(5)
        equal(peer.run("call", **call_self(n, 1)), {"n": 1}, "the reply")
        check("is lost" not in peer.text(), peer.text())


def test_a_blocked_broker_stops_only_publishing(env):
    with env.names() as n, Peer(n) as peer:
        own = f"{n.topic}.{n.host}"
        peer.serve()
        equal(peer.run("call", **call_self(n, 0)), {"n": 0}, "the reply")
        peer.request("echo")
        peer.run("stop")
        n.publish(own, b'{"method": "echo", "version": "6.0", "args": {"n": 1}}')
        wait_until("it waits", lambda: n.depth(own) == 1)
        env.broker.ctl("set_vm_memory_high_watermark", "0")
        try:
            failure = peer.fails("call", **dict(call_self(n, 2), timeout=3))
            equal(failure["code"], DISCONNECTED, failure["error"])
            check("blocked" in failure["error"], failure["error"])
            peer.serve()
            equal(peer.request("echo")["args"], {"n": 1}, "what is consumed meanwhile")
            # One message that follows a declaration, and one that waits.
            peer.run("notify", topic="notifications-blocked", event_type="e")
            waits = peer.do("call", **call_self(n, 3))
            time.sleep(2)
        finally:
            env.broker.ctl("set_vm_memory_high_watermark", "0.4")
        equal(peer.done(waits), {"n": 3}, "the reply to what waited")
        wait_until("the notification is there",
                   lambda: n.depth("notifications-blocked.info") == 1)
        delete_queue(n, "notifications-blocked.info")
        check("the publishing connection is lost" not in peer.text(), peer.text())


def test_what_was_sent_before_the_end_is_published_within_the_grace(env):
    with env.names() as n:
        env.broker.stop()
        try:
            with Peer(n, "--grace", "30", ready=False) as peer:
                for number in range(5):
                    peer.run("notify", topic="notifications-end", event_type=f"e{number}")
                peer.end_input()
                env.broker.start()
                equal(peer.close(), 0, "the end")
        finally:
            if not env.broker.is_up():
                env.broker.start()
        equal(len(bodies(n, "notifications-end.info")), 5, "notifications")
        delete_queue(n, "notifications-end.info")


def test_what_arrives_during_a_pause_is_requeued_once(env):
    with env.names() as n:
        own = f"{n.topic}.{n.host}"
        with n.connection() as connection:
            connection.channel().queue_declare(own, durable=True, auto_delete=False,
                                               arguments={"x-queue-type": "quorum"})
        with Peer(n, "--prefetch", "200") as peer:
            peer.serve()
            peer.run("pause")
            with n.connection() as connection:
                producer = connection.Producer(serializer=None)
                for number in range(40):
                    producer.publish(b'{"method": "echo", "version": "6.0", "args": {}}', exchange=n.exchange,
                                     routing_key=own, content_type="application/json", content_encoding="utf-8")
            wait_until("all are there", lambda: n.depth(own) == 40)
            # The second pause begins while the broker delivers.
            peer.do("resume")
            peer.run("pause")
            taken_here = len(peer.seen(lambda e: e["event"] == "request"))
            wait_until("the rest is there", lambda: n.depth(own) == 40 - taken_here)
        with n.connection() as connection:
            channel = connection.channel()
            # Counted by a quorum queue, which drops a message after a number of deliveries.
            counts = [(message.headers or {}).get("x-delivery-count", 0)
                      for message in iter(lambda: channel.basic_get(own, no_ack=True), None)]
        check(len(counts) == 40 - taken_here and max(counts) <= 1, (len(counts), max(counts)))


class Echo:
    target = oslo_messaging.Target(version="3.0")

    def echo(self, context, n):
        return n


def test_a_queue_that_the_broker_refuses_stops_nothing_else(env):
    with env.names() as n, Oslo(n) as oslo:
        endpoint = Echo()
        oslo.serve(endpoint)
        with n.connection() as connection:
            # Another's exclusive queue: the broker refuses it (405) as long as that connection lives.
            connection.channel().queue_declare(n.topic, exclusive=True, auto_delete=False)
            with Peer(n) as peer:
                peer.run("serve")
                peer.wait_log("RESOURCE_LOCKED")
                # Calls and their replies work meanwhile.
                for number in range(3):
                    equal(peer.run("call", topic=n.other, method="echo", version="3.0",
                                   args={"n": number}), number, "the reply")
                check("connection is lost" not in peer.text(), peer.text())
                connection.release()
                peer.run("ready", timeout=LIMIT_S)
                n.publish(n.topic, b'{"method": "echo", "version": "6.0", "args": {}}')
                peer.request("echo")


def test_a_reply_queue_that_the_broker_refuses_gets_another_name(env):
    with NetworkStandIn(env.broker.port) as network, env.names() as n, n.connection() as connection:
        with Peer(n, url=env.url_by(network)) as peer:
            peer.serve()
            equal(peer.run("call", **call_self(n, 1)), {"n": 1}, "the reply")
            queue = reply_queue(env)
            # While the network is away, the name is taken by another's exclusive queue.
            network.silence(deaf=True, mute=True)
            network.cut()
            peer.wait_log("the consuming connection is lost")
            connection.channel().queue_delete(queue)
            connection.channel().queue_declare(queue, exclusive=True, auto_delete=False)
            network.resume()
            equal(peer.run("call", **call_self(n, 2)), {"n": 2}, "the reply")
            check("cannot consume: " in peer.text() and queue in peer.text(), peer.text())


def test_a_call_whose_reply_could_not_be_received_yet_keeps_its_time_limit(env):
    """Its message expires with it, too. Else it would be executed after its caller has given up."""
    limit_s, late_s = 12, 5
    with NetworkStandIn(env.broker.port) as network, env.names() as n, n.connection() as connection:
        channel = connection.channel()
        channel.exchange_declare(n.exchange, "topic", durable=False, auto_delete=False)
        channel.queue_declare(f"test-{n.topic}", exclusive=True)
        channel.queue_bind(f"test-{n.topic}", n.exchange, "late")
        network.silence(deaf=True, mute=True)
        with Peer(n, url=env.url_by(network), ready=False) as peer:
            began = time.monotonic()
            call = peer.do("call", topic="late", method="m", version="1.0", args={}, timeout=limit_s)
            time.sleep(late_s)
            network.resume()
            network.cut()
            message = wait_until("the call", lambda: channel.basic_get(f"test-{n.topic}", no_ack=True))
            left_ms = int(message.properties["expiration"])
            check(0 < left_ms <= (limit_s - late_s) * 1000, f"it expires after {left_ms} ms")
            outcome = peer.outcome(call)
            check("did not answer" in outcome["error"], outcome)
            took_s = time.monotonic() - began
            check(limit_s - 1 < took_s < limit_s + 2, f"it failed after {took_s:.1f} s")


def reply_queue(env):
    """The one that is consumed."""
    queues = [line.split() for line in env.broker.ctl("list_queues", "name", "consumers").splitlines()]
    return next(name for name, consumers in queues if name.startswith("reply_") and consumers != "0")


def test_connections_are_spread_over_the_hosts(env):
    with contextlib.ExitStack() as stack:
        networks = [stack.enter_context(NetworkStandIn(env.broker.port)) for _ in range(3)]
        n = stack.enter_context(env.names())
        url = f"rabbit://{','.join(f'guest:guest@127.0.0.1:{network.port}' for network in networks)}/"
        peers = [stack.enter_context(Peer(n, url=url)) for _ in range(12)]
        text = "".join(peer.text() for peer in peers)
        firsts = [text.count(f"publishing at 127.0.0.1:{network.port}") for network in networks]
        equal(sum(firsts), 12, firsts)
        check(max(firsts) < 12, f"all at one host: {firsts}")


def test_a_connection_that_dies_at_once_is_made_again_after_growing_pauses(env):
    with env.names() as n, NetworkStandIn(env.broker.port) as network:
        with Peer(n, url=env.url_by(network)) as peer:
            until = time.monotonic() + 12
            while time.monotonic() < until:
                network.cut()
                time.sleep(0.3)
            text = peer.text()
            losses = text.count("the publishing connection is lost") + text.count("cannot publish yet")
            check(2 <= losses <= 6, f"{losses} losses in 12 s: {text}")
            peer.serve()
            equal(peer.run("call", **call_self(n, 1)), {"n": 1}, "the reply")


def test_of_several_hosts_those_that_do_not_answer_are_passed_over(env):
    dead = free_port()
    with env.names() as n:
        url = f"rabbit://guest:guest@127.0.0.1:{dead},guest:guest@{env.broker.host}/"
        # In a random order: sooner or later the dead one comes first.
        for _ in range(40):
            with Peer(n, url=url) as peer:
                peer.serve()
                equal(peer.run("call", **call_self(n, 1)), {"n": 1}, "the reply")
            if f"cannot connect to RabbitMQ at 127.0.0.1:{dead}" in peer.text():
                return
        raise AssertionError("the first host was always the other one")


def test_a_refused_login_is_reported_without_the_password(env):
    with env.names() as n:
        for url, says in (
            (f"rabbit://guest:hidden@{env.broker.host}/", "ACCESS_REFUSED"),
            (f"rabbit://guest:guest@{env.broker.host}/none", "vhost none"),
        ):
            with Peer(n, url=url, ready=False) as peer:
                peer.wait_log("cannot log in to RabbitMQ", 2)
                peer.wait_log(says)
                check("hidden" not in peer.text(), "the password is in the log")


def test_tls_checks_the_certificate_of_the_broker_and_its_name(env):
    ca, other_ca = env.authority.certificate, env.other_authority.certificate
    with env.names() as n:
        good = f"rabbit://guest:guest@localhost:{env.broker.tls_port}/"
        with Peer(n, "--ssl", "--ca", ca, url=good) as peer:
            peer.serve()
            equal(peer.run("call", **call_self(n, 1)), {"n": 1}, "the reply")
        for url, file in (
            (good.replace("localhost", "127.0.0.1"), ca),  # not its name
            (good, other_ca),
            (good.replace(str(env.broker.tls_port), str(env.broker.port)), ca),  # not TLS
            (good, "/none/such.pem"),
        ):
            with Peer(n, "--ssl", "--ca", file, url=url, ready=False) as peer:
                peer.wait_log("cannot publish yet")
                peer.wait_log("cannot consume yet")
                check("publishing at" not in peer.text(), f"it trusts {url} with {file}")


def test_a_quorum_queue_without_a_majority_stops_only_its_own_messages(env):
    """The connection lives, and the broker does not say that it is blocked. The second member of the queue is on a node
    that does not exist. The last test: a broker with such a queue takes long to start again."""
    queue = "notifications-silent.info"
    with env.names() as n, Peer(n, "--outbox", "5000") as peer, n.connection() as connection:
        peer.serve()
        connection.channel().queue_declare(queue, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
        peer.run("notify", topic="notifications-silent", event_type="e")
        wait_until("the first one", lambda: n.depth(queue) == 1)
        name = f"\'%2F_{queue}\'"
        env.broker.ctl("eval", f"ra:add_member({{{name}, node()}}, {{{name}, \'other@nowhere\'}}, 1000).")
        for number in range(1100):
            peer.run("notify", topic="notifications-silent", event_type=f"e{number}")
        began = time.monotonic()
        peer.fails("call", **dict(call_self(n, 1), timeout=3))
        tap.wait_for("the log", lambda: f"has not confirmed a message for {queue}" in peer.text(), 180)
        for number in range(20):
            equal(peer.run("call", **call_self(n, number)), {"n": number}, "the reply")
        print(f"# calls go on after {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    tap.main(Connections)
