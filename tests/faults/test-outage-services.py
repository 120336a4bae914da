#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Glance, Keystone and QEMU fail while a snapshot is under way: guest, image and task state must be correct afterwards.
Broker, libvirt and QEMU are real. Glance is real and stands behind a stand-in that injects its faults. Keystone and the
conductor are stand-ins."""
import os
import signal
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from agent import NO_LIVE_SNAPSHOT  # noqa: E402
from case import Case, CaseEnvironment, is_copying, is_saving  # noqa: E402
from standin_keystone import KeystoneStandIn  # noqa: E402

RETRIES = 3


class Outage(CaseEnvironment):
    def set_up(self):
        super().set_up()
        self.keystone = KeystoneStandIn()
        self.callback(self.keystone.stop)

    def before_test(self):
        super().before_test()
        self.keystone.stop()
        self.keystone.start()
        self.keystone.asked = 0

    def agent(self, sections=None, **novasnap):
        return self.start_agent(sections={"retries": RETRIES, **(sections or {})}, stall_timeout="2", **novasnap)

    def agent_with_token(self):
        """An agent with a user of its own in Keystone."""
        return self.agent({"keystone_authtoken": self.keystone.section()})

    def saving_agent(self):
        return self.agent({**NO_LIVE_SNAPSHOT, "DEFAULT": {"max_concurrent_snapshots": "0"}})

    def send(self, agent, *faults):
        """Sends a snapshot whose uploads meet these faults."""
        self.front.reset(*faults)
        return Case(self, agent).send()

    def kill_qemu(self, agent, moment):
        """Kills QEMU at a moment of a snapshot. The guest must then stay off."""
        case = Case(self, agent)
        sender = threading.Thread(target=case.send)
        sender.start()
        tap.wait_for("moment", moment, 30, 0.001)
        os.kill(self.guest.pid(), signal.SIGKILL)
        tap.wait_for("end of the guest", lambda: self.guest.state() == "shut off", 20)
        sender.join()
        case.state = "shut off"
        return case


def test_glance_refuses_for_good(env):
    agent = env.agent()
    for status in (400, 401, 403, 409, 413):
        env.send(agent, status).is_deleted(str(status))
        assert env.front.puts() == [status], env.front.seen


def test_glance_does_not_have_the_image_any_more(env):
    agent = env.agent()
    for status in (404, 410):
        env.front.reset(status)
        env.front.before_fault = lambda _status, path: env.glance.delete(path.split("/")[3])
        case = Case(env, agent).send()
        case.faults = 0  # nova knows
        case.is_deleted("no longer exists")


def test_glance_fails_once(env):
    agent = env.agent()
    for fault in (429, 500, 503, "cut", "stall"):
        env.send(agent, fault).is_whole()
        assert env.front.puts()[0] == fault and env.front.puts()[-1] is None, env.front.seen


def test_glance_fails_always(env):
    env.send(env.agent(), *[429] * 20).is_deleted("429")
    assert env.front.puts() == [429] * (RETRIES + 1), env.front.seen


def test_in_place_of_an_expired_token_our_own_is_used(env):
    env.send(env.agent_with_token(), 401).is_whole()
    assert env.keystone.asked > 0


def test_keystone_is_away_and_comes_back(env):
    agent = env.agent_with_token()
    env.keystone.stop()
    timer = threading.Timer(2, env.keystone.start)
    timer.start()
    env.send(agent, 401).is_whole()
    timer.join()


def test_keystone_stays_away(env):
    agent = env.agent_with_token()
    env.keystone.stop()
    case = env.send(agent, *[401] * 20)
    case.wait_end()
    assert case.outcome() == "deleted"


def test_six_managed_saves_at_once(env):
    agent = env.saving_agent()
    guests = [env.guest, *env.start_more_guests(5)]
    cases = [Case(env, agent, guest) for guest in guests]
    for case in cases:
        case.send()
    for case in cases:
        case.wait_end()
    for case in cases:
        case.is_whole()
        assert "method extract" in case.said()


def test_qemu_dies_while_its_disk_is_read(env):
    env.front.reset("hold")
    case = env.kill_qemu(env.agent(), env.front.puts)
    env.front.release.set()
    case.is_whole()
    assert "taking a new snapshot" in case.said(), case.said()


def test_qemu_dies_while_its_disk_is_copied(env):
    agent = env.agent(live_method="rebase")
    env.kill_qemu(agent, lambda: is_copying(agent)).is_deleted()


def test_qemu_dies_while_its_guest_is_saved(env):
    env.kill_qemu(env.saving_agent(), lambda: is_saving(env.guest)).is_deleted()


if __name__ == "__main__":
    tap.main(Outage)
