#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""In nova-compute's place: what novasnapd does not serve waits in a queue of its own until nova-compute is back, in plain
and in quorum queues. What it does while nothing is to be done."""
import json
import os
import re
import sys
import time

import kombu
import psutil

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from environment import Environment  # noqa: E402
from process import free_port  # noqa: E402

SECRET = "gAAAAAsecret"
LAYOUTS = ({}, {"rabbit_quorum_queue": "true"})


class Exclusive(Environment):
    services = ("broker", "libvirt")

    def set_up(self):
        self.images = self.folder.make("images")

    def connection(self):
        return kombu.Connection(self.broker.url.replace("rabbit:", "amqp:", 1))

    def publish(self, queue, body, **properties):
        with self.connection() as connection:
            connection.Producer(serializer=None).publish(body, exchange="", routing_key=queue, **properties)

    def take(self, queue):
        with self.connection() as connection:
            return connection.channel().basic_get(queue, no_ack=True)

    def depth(self, queue):
        with self.connection() as connection:
            return connection.channel().queue_declare(queue, passive=True).message_count


def test_casts_for_nova_compute_wait_for_its_return(env):
    for number, layout in enumerate(LAYOUTS):
        agent = env.make_agent(f"kept-{number}", {"oslo_messaging_rabbit": layout, "images": env.images})
        kept, own = f"novasnap.unhandled.{agent.host}", f"compute.{agent.host}"
        bodies = [json.dumps({"method": "terminate_instance", "version": "6.0", "_unique_id": f"{number}-{i}",
                              "_context_auth_token": SECRET, "_context_request_id": f"req-{i}",
                              "args": {"ratio": 1.0, "i": i}}) for i in range(5)]
        agent.start()
        for i, body in enumerate(bodies):
            env.publish(own, body, headers={"mark": i, "": "no name"}, content_type="application/json", content_encoding="utf-8",
                        delivery_mode=2, correlation_id=f"c{i}")
        tap.wait_for("casts in the queue", lambda queue=kept: env.depth(queue) == len(bodies), 30)
        # The log has the method and the ids only.
        assert "moving the cast terminate_instance (request req-4, message " in agent.text(), agent.text()
        assert SECRET not in agent.text() and '"ratio"' not in agent.text()
        refused = agent.command("replay", "--unhandled", check=False)
        assert refused.returncode == 1 and "stop it" in refused.stderr, refused
        assert env.depth(kept) == len(bodies)
        # Neither a stop nor a kill loses one.
        assert agent.stop() == 0
        done = agent.command("replay", "--unhandled")
        assert f"{len(bodies)} messages moved from the queue {kept} to {own}" in done.stdout, done
        assert "start nova-compute" in done.stdout, done
        assert env.depth(kept) == 0
        for i, body in enumerate(bodies):
            message = env.take(own)
            text = message.body if isinstance(message.body, str) else bytes(message.body).decode()
            assert text == body, (text, body)
            # A quorum queue adds a header.
            assert {**message.headers, "mark": i, "": "no name"} == message.headers, message.headers
            assert message.properties["correlation_id"] == f"c{i}", message.properties
            assert message.properties["delivery_mode"] == 2, message.properties
        assert "0 messages moved" in agent.command("replay", "--unhandled").stdout


def test_a_connection_that_moves_nothing_is_closed(env):
    """It comes back for the next cast, also for one that comes just before a stop."""
    agent = env.make_agent("idle", {"images": env.images})
    kept, own = f"novasnap.unhandled.{agent.host}", f"compute.{agent.host}"

    def moves():
        # Of the broker's own list, a command that takes seconds, a short connection may be missing.
        return sum(each.pid == agent.process.pid and each.status == "ESTABLISHED"
                   for each in psutil.net_connections("tcp")) == 3

    def send(number):
        env.publish(own, json.dumps({"method": "terminate_instance", "version": "6.0", "_unique_id": f"idle{number}",
                                     "args": {}}))
    agent.start()
    for number in range(2):
        tap.wait_for("the connection", moves, 20)
        tap.wait_for("its end", lambda: not moves(), 30, 0.5)
        send(number)
        tap.wait_for("the cast in the queue", lambda count=number + 1: env.depth(kept) == count, 10)
    tap.wait_for("the end of the connection", lambda: not moves(), 30, 0.5)
    send(2)
    assert agent.stop() == 0
    assert env.depth(kept) + env.depth(own) == 3, (env.depth(kept), env.depth(own))


def test_novasnapd_rests_until_its_broker_comes(env):
    """Its main thread wakes up a few times a second at most."""
    agent = env.make_agent("early", {"images": env.images, "broker_url": f"rabbit://127.0.0.1:{free_port()}/"})
    agent.start(wait=False)

    def wakes():
        with open(f"/proc/{agent.process.pid}/task/{agent.process.pid}/status") as file:
            return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", file.read(), re.M)[1])
    tap.wait_for("the first failure", lambda: "cannot consume yet" in agent.text(), 20)
    time.sleep(5)
    before = wakes()
    time.sleep(4)
    assert wakes() - before < 40, f"{wakes() - before} times in 4 s"
    assert agent.stop() == 0


def meet_a_full_queue(env, name, casts, more=None, **sections):
    """Starts novasnapd, whose queue for unhandled casts has room for one, and sends it numbered casts with more arguments.
    Returns novasnapd, that queue, and nova-compute's."""
    agent = env.make_agent(name, {"images": env.images, **sections})
    kept, own = f"novasnap.unhandled.{agent.host}", f"compute.{agent.host}"
    with env.connection() as connection:
        channel = connection.channel()
        channel.queue_declare(kept, durable=True, auto_delete=False,
                              arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    agent.start()
    for i in range(casts):
        env.publish(own, json.dumps({"method": "terminate_instance", "version": "6.0", "_unique_id": f"{name}{i}",
                                     "args": {"i": i, **(more or {})}}))
    return agent, kept, own


def test_casts_that_are_not_moved_yet_survive_a_kill(env):
    """The queue cannot be used: the casts stay unacked, and the next novasnapd moves them."""
    agent, kept, own = meet_a_full_queue(env, "killed", 4)
    tap.wait_for("refusal", lambda: "is full, or the broker cannot store it" in agent.text(), 30)
    agent.kill()
    agent.start()
    order = []
    tap.wait_for("all casts", lambda: (message := env.take(kept)) and order.append(
        json.loads(message.body)["args"]["i"]) or len(order) >= 4, 90)
    assert order == [0, 1, 2, 3], order
    assert agent.stop() == 0 and env.depth(own) == 0


def test_what_cannot_be_read_is_moved_once(env):
    """Its deliveries on another connection are the same message."""
    agent, kept, own = meet_a_full_queue(env, "unreadable", 1)
    bodies = [f"unreadable {i}".encode() for i in range(3)]
    for body in bodies:
        env.publish(own, body, headers={"compression": "application/x-other"})
    tap.wait_for("refusal", lambda: "is full, or the broker cannot store it" in agent.text(), 30)
    env.broker.ctl("close_all_connections", "test")
    tap.wait_for("another connection", lambda: agent.text().count("consuming at") > 1, 30)
    seen = []
    tap.wait_for("all", lambda: (message := env.take(kept)) and seen.append(message.body) or len(seen) >= 4, 90)
    time.sleep(5)
    assert env.take(kept) is None
    assert [body if isinstance(body, bytes) else body.encode() for body in seen[1:]] == bodies, seen
    assert agent.stop() == 0 and env.depth(own) == 0


def test_a_queue_that_takes_nothing_for_a_minute(env):
    """What waits to be moved is bounded at once, and after a minute most of it is rejected, so that novasnapd's own
    requests go on arriving."""
    agent, kept, own = meet_a_full_queue(env, "full", 80, oslo_messaging_rabbit={"rabbit_qos_prefetch_count": "100"})
    tap.wait_for("refusal", lambda: "is full, or the broker cannot store it" in agent.text(), 30)
    began = time.monotonic()
    assert "nova-compute will not get it" not in agent.text()
    rejected = tap.wait_for("rejection", lambda: agent.text().count("nova-compute will not get it"), 120)
    assert 45 < time.monotonic() - began, f"{rejected} rejected after {time.monotonic() - began:.0f} s"
    # One is in the queue, and half of the prefetch waits.
    tap.wait_for("all rejections", lambda: agent.text().count("nova-compute will not get it") == 80 - 1 - 50, 30)
    order = []
    tap.wait_for("the others", lambda: (message := env.take(kept)) and order.append(
        json.loads(message.body)["args"]["i"]) or len(order) >= 51, 150)
    assert order == list(range(51)), order
    assert agent.stop() == 0 and env.depth(own) == 0


def test_more_bytes_than_may_wait(env):
    agent, kept, own = meet_a_full_queue(env, "large", 12, {"filler": "x" * (4 << 20)})
    tap.wait_for("the limit", lambda: "leaving another one with the broker" in agent.text(), 60)
    # Each process moves what it has room for, and the broker delivers the rest to the next one.
    seen = set()
    for _ in range(4):
        until = time.monotonic() + 20
        while time.monotonic() < until and len(seen) < 12:
            if message := env.take(kept):
                seen.add(json.loads(message.body)["args"]["i"])
            else:
                time.sleep(0.1)
        agent.kill()
        agent.start()
    assert seen == set(range(12)), seen
    assert agent.stop() == 0 and env.depth(own) == 0


if __name__ == "__main__":
    tap.main(Exclusive)
