#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Notifications to a broker of their own, and the formats of oslo's two drivers; queues and exchanges as newer
configurations want them. Both brokers are real RabbitMQs."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from broker import Broker  # noqa: E402
from environment import Environment  # noqa: E402
from rpc_peers import Names, Oslo, Peer, equal, wait_until  # noqa: E402

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


def test_stream_fanout(env):
    """What the other services declare as a stream is left alone."""
    with Names(env.second.url) as n, Peer(n, "--transient-quorum", "--stream-fanout") as peer:
        peer.serve()
        equal([name for name in declared(env, "queues") if name.startswith(f"{n.topic}_fanout")], [], "fanout queues")
        equal(f"{n.topic}_fanout" in declared(env, "exchanges"), False, "a fanout exchange")


if __name__ == "__main__":
    tap.main(Notifications)
