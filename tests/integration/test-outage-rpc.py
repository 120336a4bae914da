#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Broker and conductor fail while a snapshot is under way: guest, image and task state are correct afterwards, and the
next cast is served. RabbitMQ is real and private, libvirt and QEMU are real. Glance is real and stands behind a
stand-in that holds uploads up. The conductor is a stand-in."""
import os
import signal
import sqlite3
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from case import Case, CaseEnvironment  # noqa: E402
from paths import CAST  # noqa: E402
from standin_network import NetworkStandIn  # noqa: E402

HEARTBEAT = 2
STATES = ["image_snapshot", "image_pending_upload", "image_uploading", None]


class Outage(CaseEnvironment):
    own_broker = True

    def before_test(self):
        if not self.broker.is_up():
            self.broker.start()
        if not self.conductor.is_up():
            self.conductor.start()
        super().before_test()

    def agent(self, url=None, timeout=2, **rabbit):
        """`timeout`: for how many seconds it waits for the conductor."""
        return self.start_agent(sections={
            "broker_url": url or self.broker.url, "oslo_messaging_rabbit": rabbit,
            "DEFAULT": {"rpc_response_timeout": str(timeout)}})

    def ends_well(self, case):
        """This snapshot ends well, and so does the next one."""
        self.front.release.set()
        case.is_whole()
        Case(self, case.agent).send().is_whole()


def url_by(*networks):
    return f"rabbit://{','.join(f'guest:guest@127.0.0.1:{network.port}' for network in networks)}/"


def test_the_broker_is_restarted_between_two_casts(env):
    agent = env.agent(timeout=20)  # the pauses before a new connection are random
    Case(env, agent).send().is_whole()
    env.broker.stop()
    tap.wait_for("loss", lambda: "connection is lost" in agent.text())
    env.broker.start()
    tap.wait_for("queue", lambda: f"compute.{agent.host}" in env.broker.ctl("list_queues"))
    Case(env, agent).send().is_whole()


def test_the_broker_is_killed_and_started_again(env):
    agent = env.agent(timeout=10)
    case = env.hold(agent)
    env.broker.kill()
    tap.wait_for("loss", lambda: "connection is lost" in agent.text(), 20)
    env.broker.start()
    env.ends_well(case)


def test_the_broker_hangs_for_longer_than_a_heartbeat(env):
    agent = env.agent(heartbeat_timeout_threshold=str(HEARTBEAT))
    case = env.hold(agent)
    env.broker.signal(signal.SIGSTOP)
    try:
        tap.wait_for("loss", lambda: agent.text().count("connection is lost") > 1, 30)
    finally:
        env.broker.signal(signal.SIGCONT)
    env.ends_well(case)


def test_a_connection_is_cut_between_publishing_and_its_confirm(env):
    network = env.enter(NetworkStandIn(env.broker.port))
    case = env.hold(env.agent(url_by(network)))
    network.silence(deaf=True)
    before = len(env.conductor.states())
    env.front.release.set()
    # It is published, but neither confirmed nor answered.
    tap.wait_for("last state", lambda: len(env.conductor.states()) > before, 20)
    network.cut()
    network.resume()
    env.ends_well(case)


def test_one_of_two_brokers_dies(env):
    """Two addresses of one broker stand in for a cluster."""
    other = env.enter(NetworkStandIn(env.broker.port))
    with NetworkStandIn(env.broker.port) as network:
        agent = env.agent(url_by(network, other))
        case = env.hold(agent)
    env.ends_well(case)
    assert f"127.0.0.1:{other.port}" in agent.text(), agent.text()


def test_sigterm_while_the_broker_hangs(env):
    """It ends within its grace time; the job continues at the next start."""
    agent = env.start_agent(sections={"DEFAULT": {"rpc_response_timeout": "60"}}, shutdown_grace="2")
    case = env.hold(agent)
    env.broker.signal(signal.SIGSTOP)
    try:
        env.front.release.set()
        tap.wait_for("image", lambda: "is stored" in case.said(), 30)
        began = time.monotonic()
        agent.process.send_signal(signal.SIGTERM)
        assert agent.process.wait(60) == 0
        assert time.monotonic() - began < 2 + 15, agent.text()[-3000:]
    finally:
        env.broker.signal(signal.SIGCONT)
    agent.start()
    case.is_whole()


def test_sigterm_while_the_broker_is_away(env):
    agent = env.start_agent(sections={"DEFAULT": {"rpc_response_timeout": "60"}}, shutdown_grace="2")
    case = env.hold(agent)
    env.broker.stop()
    env.front.release.set()
    tap.wait_for("image", lambda: "is stored" in case.said(), 30)
    began = time.monotonic()
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(60) == 0
    assert time.monotonic() - began < 2 + 15, agent.text()[-3000:]
    env.broker.start()
    env.conductor.stop()
    env.conductor.start()
    agent.start()
    case.is_whole()


def test_the_broker_blocks_publishers(env):
    case = env.hold(env.agent(timeout=10))
    env.broker.ctl("set_vm_memory_high_watermark", "0")
    try:
        env.front.release.set()
        time.sleep(6)
        assert not case.has_ended()
    finally:
        env.broker.ctl("set_vm_memory_high_watermark", "0.4")
    env.ends_well(case)


def counts(env, queue):
    """The messages of a queue that are ready, and those that are delivered and not acked."""
    lines = env.broker.ctl("list_queues", "name", "messages_ready", "messages_unacknowledged").splitlines()
    return next(tuple(map(int, line.split()[1:])) for line in lines if line.split()[0] == queue)


def test_casts_for_a_busy_instance_do_not_make_the_host_deaf(env):
    agent = env.agent(timeout=10, rabbit_qos_prefetch_count="1")
    other, = env.start_more_guests(1)
    first = env.hold(agent)
    images = [first.make_image() for _ in range(3)]
    for image in images:
        agent.command("send", "snapshot_instance", "--file", CAST, "--instance", env.guest.uuid, "--image", image)
    tap.wait_for("acks", lambda: counts(env, f"compute.{agent.host}") == (0, 0))
    Case(env, agent, other).send().is_whole(alone=False)
    assert not first.has_ended()
    env.front.release.set()
    first.wait_end()
    assert first.check_image() == "whole"
    for image in images:
        tap.wait_for("end", lambda image=image: agent.has_ended(image), 60)


def test_while_the_journal_cannot_be_written_the_broker_keeps_the_casts(env):
    """Each cast is requeued once: the queue drops a cast at its third delivery."""
    env.broker.ctl("set_policy", "few", "^compute", '{"delivery-limit": 2}', "--apply-to", "queues")
    try:
        agent = env.agent(timeout=10, rabbit_quorum_queue="true", rabbit_qos_prefetch_count="1")
        queue = f"compute.{agent.host}"
        holder = sqlite3.connect(os.path.join(agent.state, "journal", "journal.db"))
        holder.execute("BEGIN IMMEDIATE")
        cases = [Case(env, agent, guest).send() for guest in (env.guest, *env.start_more_guests(1))]
        tap.wait_for("pause", lambda: "accepting no casts" in agent.text(), 40)
        tap.wait_for("requeue", lambda: counts(env, queue) == (2, 0), 20)
        time.sleep(15)  # a try of the journal takes 10
        assert counts(env, queue) == (2, 0) and "accepting casts" not in agent.text()
        assert "connection is lost" not in agent.text(), agent.text()
        holder.rollback()
        holder.close()
        for case in cases:
            case.is_whole(alone=False)
        tap.wait_for("acks", lambda: counts(env, queue) == (0, 0), 20)
    finally:
        env.broker.ctl("clear_policy", "few")


def test_the_conductor_is_away_for_twice_its_timeout(env):
    case = env.hold(env.agent())
    env.conductor.stop()
    env.front.release.set()
    time.sleep(4)
    assert not case.has_ended()
    env.conductor.start()
    env.ends_well(case)


def test_the_conductor_is_away_when_a_cast_comes(env):
    agent = env.agent()
    env.conductor.stop()
    timer = threading.Timer(1.5, env.conductor.start)
    case = Case(env, agent)
    timer.start()
    case.send()
    timer.join()
    case.is_whole()


def test_a_reply_to_each_save_is_late_or_lost(env):
    guests = [env.guest, *env.start_more_guests(len(STATES) - 1)]
    late = dict(zip((guest.uuid for guest in guests), STATES))

    def delay(uuid, wanted):
        if uuid in late and late[uuid] == wanted:
            del late[uuid]
            env.conductor.late = 1
    agent = env.agent()
    env.conductor.before_save = delay
    env.conductor.late_seconds = 3
    cases = [Case(env, agent, guest).send() for guest in guests]
    for case in cases:
        case.wait_end()
    assert not late, late
    for case in cases:
        case.is_whole()


if __name__ == "__main__":
    tap.main(Outage)
