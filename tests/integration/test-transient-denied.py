#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A RabbitMQ that denies transient queues: its deprecated feature transient_nonexcl_queues is not permitted. Without
rabbit_transient_quorum_queue no nova-compute serves there. Before a RabbitMQ of before 3.12, which cannot deny them, is
a stand-in that answers as a later one does."""
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from broker import Broker, installed_version  # noqa: E402
from environment import Environment  # noqa: E402
from rpc_peers import LIMIT_S, Names, Peer, check, equal, wait_until  # noqa: E402
from standin_denial import DenialStandIn  # noqa: E402

CAN_DENY = installed_version() >= (3, 12)
OPTIONS = ["deprecated_features.permit.transient_nonexcl_queues = false"] if CAN_DENY else []
TRANSIENT, TOPICS = "rabbit_transient_quorum_queue", "rabbit_quorum_queue"
DENIES = "this broker denies transient queues"


class Denied(Environment):
    services = ("broker",)
    own_broker = True

    def make_broker(self):
        return Broker(self.folder, options=OPTIONS, management=True)

    def set_up(self):
        self.url = self.broker.url
        if not CAN_DENY:
            network = self.enter(DenialStandIn(self.broker.port))
            self.url = self.broker.url.replace(str(self.broker.port), str(network.port))
        self.wait_services()

    def names(self):
        return Names(self.broker.url)

    def peer(self, names, *options, **more):
        return Peer(names, *options, url=self.url, **more)

    def listed(self, what, *columns):
        rows = self.broker.objects("%2F")[("exchanges", "queues").index(what)]
        return {row["name"]: [row[column] for column in columns] for row in rows}

    def agent(self, **options):
        """`options`: of [oslo_messaging_rabbit]. No other test declares its exchange."""
        return self.make_agent(sections={
            "DEFAULT": {"control_exchange": "nova-none"},
            "broker_url": self.url, "libvirt_uri": "test:///default", "glance_url": None,
            "images": self.folder.make("images"), "oslo_messaging_rabbit": options})


def echo(n, number):
    return dict(topic=f"{n.topic}.{n.host}", method="echo", version="6.0", args={"n": number}, timeout=LIMIT_S)


def test_own_queues_are_exclusive_where_topics_are_durable(env):
    """No fanout exchange is created: it would be transient, and the one of the other services is durable there."""
    with env.names() as n:
        fanout = f"{n.topic}_fanout"
        with env.peer(n, "--durable") as peer:
            peer.serve()
            equal(peer.run("call", **echo(n, 1)), {"n": 1}, "the reply")
            equal(peer.text().count(DENIES), 1, "complaints")
            check(TRANSIENT in peer.text(), peer.text())

            def own():
                return [found for name, found in env.listed("queues", "durable", "exclusive").items()
                        if name.startswith(("reply_", f"{fanout}_"))]
            # The broker's API shows them some seconds later.
            tap.wait_for("queues of its own", lambda: len(own()) == 2, 30)
            equal(own(), [[False, True]] * 2, "the queues of its own")
            check(fanout not in env.listed("exchanges"), "there is a fanout exchange")
            # As a nova-compute with rabbit_transient_quorum_queue declares it.
            with n.connection() as connection:
                connection.channel().exchange_declare(fanout, "fanout", durable=True, auto_delete=True)
            env.broker.ctl("close_all_connections", "test")
            peer.wait_log("the consuming connection is lost", count=2)
            peer.run("ready", timeout=LIMIT_S)
            n.publish("", json.dumps({"method": "echo", "version": "6.0", "args": {"n": 2}}), exchange=fanout)
            equal(peer.request("echo")["args"], {"n": 1}, "the call")
            equal(peer.request("echo")["args"], {"n": 2}, "what went to all")
            equal(peer.run("call", **echo(n, 3)), {"n": 3}, "a later reply")
            equal(env.listed("exchanges", "durable")[fanout], [True], "the exchange")
            equal(peer.text().count(DENIES), 1, "complaints")


def test_nothing_is_served_where_topics_are_transient(env):
    """It is said once, the broker is asked ever more seldom, and what can be done is done."""
    with env.names() as n:
        with n.connection() as connection:
            channel = connection.channel()
            channel.exchange_declare(n.exchange, "topic", durable=False, auto_delete=False)
            channel.queue_declare(n.other, durable=True, auto_delete=False)
            channel.queue_bind(n.other, n.exchange, n.other)
        with env.peer(n) as peer:
            peer.run("serve")
            peer.wait_log(DENIES)
            begin, before = time.monotonic(), peer.text().count("declaring the queue")
            peer.run("notify", topic=f"{n.topic}-notifications", event_type="e")
            peer.run("publish", topic=n.other, body="{}")
            while time.monotonic() < begin + 12:
                time.sleep(0.2)
            # The pauses are 1, 3 and 5 s, at least half of each; one more attempt is of the notification's queue.
            check(peer.text().count("declaring the queue") - before <= 8, peer.text())
            warned = [line for line in peer.text().splitlines() if "WARNING" in line and DENIES in line]
            consuming = [line for line in warned if "consuming" in line or "cannot consume" in line]
            equal(len(consuming), 1, f"warnings: {warned}")
            check(TOPICS in consuming[0] and TRANSIENT in consuming[0], consuming[0])
            check("notifications.info" in "".join(warned), warned)
            wait_until("what was published", lambda: n.depth(n.other) == 1)
            check(peer.fails("ready", timeout=1), "it is not ready")
        left = [name for name in env.listed("queues") if name.startswith(n.topic)]
        equal(left, [], "queues")
        check(f"{n.topic}_fanout" not in env.listed("exchanges"), "there is a fanout exchange")


def test_check_names_the_options(env):
    before = env.listed("queues"), env.listed("exchanges")
    for options, results, names in (
            ({}, ["FAIL", "warn"], (DENIES, TOPICS, TRANSIENT)),
            ({"amqp_durable_queues": "true"}, ["warn"], (DENIES, TRANSIENT, "exclusive")),
            ({TOPICS: "true", TRANSIENT: "true"}, ["ok"], ("do not exist yet",))):
        done = env.agent(**options).command("check", check=False)
        lines = [line for line in done.stdout.splitlines() if line[6:].startswith("queues: ")]
        equal(sorted(line[:4].strip() for line in lines), results, done.stdout)
        check(all(each in "".join(lines) for each in names), done.stdout)
    wait_until("its queues are deleted", lambda: (env.listed("queues"), env.listed("exchanges")) == before)


if __name__ == "__main__":
    tap.main(Denied)
