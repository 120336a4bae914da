#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Notifications to a broker of their own, and the formats of oslo's two drivers; queues and exchanges as newer
configurations want them. Both brokers are real RabbitMQs."""
import json
import os
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from broker import Broker  # noqa: E402
from environment import Environment  # noqa: E402
from rpc_peers import LIMIT_S, Names, Oslo, Peer, equal, wait_until  # noqa: E402

CONTEXT = {"user_id": "u1", "auth_token": "gAAAAAsecret"}


class Notifications(Environment):
    services = ("broker",)

    def set_up(self):
        self.second = self.enter(Broker(self.folder))
        self.wait_services()

    def names(self):
        return Names(self.broker.url)


def bodies(url, queue):
    """Takes all messages of a queue, which is deleted."""
    with Names(url).connection() as connection:
        channel, found = connection.channel(), []
        while message := channel.basic_get(queue, no_ack=True):
            found.append(json.loads(message.body))
        channel.queue_delete(queue)
    return found


def test_a_second_broker(env):
    """RPC goes to the first broker, notifications to the second. While the second is away, RPC is not disturbed, and the
    notifications wait for it."""
    with env.names() as n, Names(env.second.url) as there, Peer(n, "--notifications-url", env.second.url) as peer, \
            Oslo(n) as oslo:
        peer.serve()
        peer.run("notify", topic="n", event_type="first", args={"p": 1}, context=CONTEXT)
        wait_until("it is at the second broker", lambda: there.depth("n.info") == 1)
        equal(n.depth("n.info"), None, "its queue at the first broker")
        equal(oslo.client().call(CONTEXT, "echo", text="a"), {"text": "a"}, "a call by the first broker")
        equal(there.depth(f"{n.topic}.{n.host}"), None, "the server's queue at the second broker")
        found, = bodies(env.second.url, "n.info")
        equal(json.loads(found["oslo.message"])["event_type"], "first", "the notification")
        env.second.stop()
        peer.wait_log("publishing connection is lost")
        for number in range(5):
            peer.run("notify", topic="n", event_type=f"waits {number}", args={}, context=CONTEXT)
            equal(oslo.client().call(CONTEXT, "echo", text=number), {"text": number}, "a call meanwhile")
        env.second.start()
        wait_until("all are at the second broker", lambda: there.depth("n.info") == 5)
        bodies(env.second.url, "n.info")


def test_a_second_broker_that_was_never_there(env):
    """The peer serves, and ends in time."""
    with env.names() as n, Peer(n, "--notifications-url", "rabbit://guest:guest@127.0.0.1:1/", "--grace", "1") as peer, \
            Oslo(n) as oslo:
        peer.serve()
        peer.run("notify", topic="n", event_type="lost", args={}, context=CONTEXT)
        equal(oslo.client().call(CONTEXT, "echo", text="a"), {"text": "a"}, "a call")


def test_formats(env):
    """With the drivers messaging and messagingv2 a notification is sent twice: without an envelope, and in one."""
    with env.names() as n, Peer(n, "--bare") as peer:
        peer.run("notify", topic="both", event_type="e", args={"p": 1}, context=CONTEXT)
        wait_until("both are there", lambda: n.depth("both.info") == 2)
        found = bodies(env.broker.url, "both.info")
        inner, = [json.loads(body["oslo.message"]) for body in found if "oslo.message" in body]
        bare, = [body for body in found if "oslo.message" not in body]
        equal(bare, inner, "the message")
        equal(bare["payload"], {"p": 1}, "the payload")


def declared(env, what, *columns):
    """What RabbitMQ says of its queues or exchanges: name -> the columns."""
    rows = json.loads(env.second.ctl("list_" + what, "--formatter", "json", "name", *columns))
    return {row["name"]: [row[column] for column in columns] for row in rows}


def arguments(shown):
    return {name: value for name, _, value in shown} if shown and isinstance(shown[0], list) else dict(shown)


def test_transient_quorum_queues(env):
    """As oslo.messaging 18 declares them with rabbit_quorum_queue and rabbit_transient_quorum_queue."""
    limits = {"x-delivery-limit": 7, "x-max-in-memory-length": 1000, "x-max-in-memory-bytes": 1000000,
              "x-queue-type": "quorum"}
    with Names(env.second.url) as n, Peer(n, "--transient-quorum") as peer:
        peer.serve()
        # The first call declares the queue of the answers.
        equal(peer.run("call", topic=f"{n.topic}.{n.host}", method="echo", version="6.0", args={"n": 1}), {"n": 1},
              "the answer")
        queues = declared(env, "queues", "durable", "auto_delete", "arguments")
        for name, more in ((f"{n.topic}.{n.host}", {}), (f"{n.topic}_fanout_", {"x-expires": 1800000}),
                           ("reply_", {"x-expires": 1800000})):
            durable, auto_delete, found = next(value for key, value in queues.items() if key.startswith(name))
            equal((durable, auto_delete, arguments(found)), (True, False, {**limits, **more}), name)
        exchanges = declared(env, "exchanges", "type", "durable", "auto_delete")
        equal(exchanges[f"{n.topic}_fanout"], ["fanout", True, True], "the fanout exchange")


def fanout(n, number, method="echo", **more):
    n.publish("", json.dumps({"method": method, "version": "6.0", "args": {"n": number}, **more}),
              exchange=f"{n.topic}_fanout")


def numbers(peer):
    return sorted(event["args"]["n"] for event in peer.seen(lambda event: event["event"] == "request"))


def test_stream_fanout(env):
    """As oslo.messaging 16 and 18: one stream for all servers of the topic, read from its last messages at first, and
    later from where the connection was lost."""
    with Names(env.second.url) as n:
        stream = f"{n.topic}_fanout"
        options = ("--transient-quorum", "--stream-fanout", "--prefetch", "10")
        with Peer(n, *options) as peer, Peer(n, *options, "--host", "node2") as other:
            peer.serve()
            other.serve()
            durable, auto_delete, found = declared(env, "queues", "durable", "auto_delete", "arguments")[stream]
            equal((durable, auto_delete, arguments(found)),
                  (True, False, {"x-queue-type": "stream", "x-max-age": "1800s"}), "the stream")
            equal(declared(env, "exchanges", "type", "durable", "auto_delete")[stream], ["fanout", True, True],
                  "the fanout exchange")
            # More than the prefetch: each is acked.
            for number in range(25):
                fanout(n, number)
            for each in (peer, other):
                wait_until("all arrive", lambda: numbers(each) == list(range(25)))
            env.second.ctl("close_all_connections", "test")
            for each in (peer, other):
                each.wait_log("the consuming connection is lost")
                each.run("ready", timeout=LIMIT_S)
            for number in range(25, 30):
                fanout(n, number)
            for each in (peer, other):
                wait_until("the rest arrives, once", lambda: numbers(each) == list(range(30)))
            # What was returned is read again.
            fanout(n, 30, method="requeue", _unique_id="returned")
            peer.event(lambda event: event["event"] == "request" and event["method"] == "requeue")
            peer.run("pause")
            fanout(n, 31)
            peer.run("resume")
            peer.event(lambda event: event["event"] == "request" and event["method"] == "requeue")
            wait_until("what came in the pause", lambda: 31 in numbers(peer))
            # It is deleted, and declared again.
            with n.connection() as connection:
                connection.channel().queue_delete(stream)
            peer.wait_log("was deleted")
            wait_until("the stream", lambda: stream in declared(env, "queues"))
            peer.run("ready", timeout=LIMIT_S)
            fanout(n, 32)
            wait_until("a message of the new stream", lambda: 32 in numbers(peer))
        equal(stream in declared(env, "queues"), True, "the stream stays")


def test_queue_manager(env):
    """The names are the same after each start, and no two processes use one."""
    manager = f"h-{uuid.uuid4().hex[:8]}:novasnapd"
    for kind in (), ("--transient-quorum",):
        with Names(env.second.url) as n:
            def own(number):
                return {f"reply_{manager}:{number}", f"{n.topic}_fanout_{manager}:{number}"}

            def private():
                return {name for name in declared(env, "queues") if manager in name}
            call = dict(topic=f"{n.topic}.{n.host}", method="echo", version="6.0", args={"n": 1})
            for _ in range(2):
                with Peer(n, *kind, "--queue-manager", manager) as peer:
                    peer.serve()
                    equal(peer.run("call", **call), {"n": 1}, "the answer")
                    equal(private(), own(1), "the queues")
                    env.second.ctl("close_all_connections", "test")
                    peer.wait_log("the consuming connection is lost")
                    peer.run("ready", timeout=LIMIT_S)
                    equal(private(), own(1), "the queues after a reconnection")
            equal(private(), own(1), "the queues that stay")
            with Peer(n, *kind, "--queue-manager", manager) as peer, \
                    Peer(n, *kind, "--queue-manager", manager, "--host", "node2") as other:
                for each, host in ((peer, n.host), (other, "node2")):
                    each.serve()
                    equal(each.run("call", **{**call, "topic": f"{n.topic}.{host}"}), {"n": 1}, "the answer")
                other.wait_log("another process consumes it", count=2)
                equal(private(), own(1) | own(2), "the queues of two processes")
            with n.connection() as connection:
                for name in own(1) | own(2):
                    connection.channel().queue_delete(name)


def test_a_clean_stop_deletes_the_fanout_queue(env):
    with Names(env.second.url) as n:
        def queues():
            return [name for name in declared(env, "queues") if name.startswith(f"{n.topic}_fanout_")]
        with Peer(n) as peer:
            peer.serve()
            equal(len(queues()), 1, "the fanout queues")
        equal(queues(), [], "the fanout queues")


if __name__ == "__main__":
    tap.main(Notifications)
