#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rpc room behaves as documented when the broker is down, blocked or mute, or is not the expected one. The tests
stop and starve a real, private RabbitMQ. A stand-in for the network cuts and silences connections. Our side is
tests/tools/rpc-peer, the other side is the real oslo.messaging."""
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from broker import Broker  # noqa: E402
from certificates import Authority  # noqa: E402
from environment import Environment  # noqa: E402
from process import free_port  # noqa: E402
from rpc_peers import LIMIT_S, Names, Oslo, Peer, check, equal, wait_until  # noqa: E402
from standin_network import NetworkStandIn  # noqa: E402

DISCONNECTED, OUTBOX_FULL = 3, 4


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
            failure = peer.fails("cast", topic="t", method="m", version="1.0")
            equal(failure["code"], OUTBOX_FULL, failure["error"])
        finally:
            env.broker.start()
        wait_until("both are published", lambda: n.depth(f"{topic}.info") == 2)
        delete_queue(n, f"{topic}.info")


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


def test_of_several_hosts_those_that_do_not_answer_are_passed_over(env):
    dead = free_port()
    with env.names() as n:
        url = f"rabbit://guest:guest@127.0.0.1:{dead},guest:guest@{env.broker.host}/"
        with Peer(n, url=url) as peer:
            peer.serve()
            equal(peer.run("call", **call_self(n, 1)), {"n": 1}, "the reply")
            peer.wait_log(f"cannot connect to RabbitMQ at 127.0.0.1:{dead}")


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


if __name__ == "__main__":
    tap.main(Connections)
