#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirtd is killed and started again, or hangs, while a snapshot is under way: the image is whole or deleted, the
guest is as it was, and the next snapshot succeeds. Broker, libvirt, QEMU and a Glance behind a stand-in that holds
uploads up are real; the conductor is a stand-in."""
import json
import os
import signal
import sys
import threading
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from agent import NO_LIVE_SNAPSHOT  # noqa: E402
from case import Case, CaseEnvironment, is_copying, is_saving  # noqa: E402
from paths import CAST  # noqa: E402


class Shelve(Case):
    """A shelve. The guest boots nothing, so it ignores the request to shut down."""
    event, task_state = "compute_shelve_instance", "shelving"

    def __init__(self, env):
        self.env = env
        super().__init__(env, env.agent({"DEFAULT": {"shutdown_timeout": "12", "shutdown_retry_interval": "2"}}))

    def send(self):
        with open(CAST) as file:
            message = json.load(file)
        message["args"]["instance"]["nova_object.data"].update(
            uuid=self.guest.uuid, host=self.agent.host, task_state=self.task_state, vm_state="active", power_state=1)
        message.update(method="shelve_instance", _unique_id=uuid.uuid4().hex, args={
            "instance": message["args"]["instance"], "image_id": self.image, "clean_shutdown": True})
        self.env.broker.publish(message, f"compute.{self.agent.host}")
        tap.wait_for("wait for the shutdown", lambda: "powering off the guest" in self.shown(), 20)
        return self

    def vm_state(self):
        return self.conductor.fields[self.guest.uuid].get("vm_state")


class LibvirtdFails(CaseEnvironment):
    guest_options = {"size_mib": 128, "data_mib": 48}

    def agent(self, sections=None, **novasnap):
        return self.start_agent(sections=sections, **{"libvirt_keepalive": "1", "libvirt_call_timeout": "8",
                                                      "save_timeout": "8", "libvirt_connect_timeout": "3", **novasnap})

    def restart(self):
        self.libvirt.kill()
        self.libvirt.start()

    def hang(self):
        self.libvirt.signal(signal.SIGSTOP)
        threading.Event().wait(12)
        self.libvirt.signal(signal.SIGCONT)

    def send(self, agent, moment):
        """Sends a snapshot and waits until it has reached a moment. Returns the case and the thread that sends it."""
        case = Case(self, agent)
        sender = threading.Thread(target=case.send)
        sender.start()
        tap.wait_for("moment", moment, 30, 0.001)
        return case, sender

    def check(self, agent, moment, fault, *allowed):
        """Injects a fault at a moment of a snapshot, and checks that the outcome is an allowed one."""
        case, sender = self.send(agent, moment)
        fault()
        sender.join()
        self.front.release.set()
        case.wait_end(120)
        assert case.outcome() in allowed, case.said()
        Case(self, agent).send().is_whole()

    def check_read(self, fault):
        self.front.reset("hold")
        self.check(self.agent(), lambda: self.front.puts() == ["hold"], fault, "whole")

    def check_copy(self, fault):
        agent = self.agent(live_method="rebase")
        self.check(agent, lambda: is_copying(agent), fault, "deleted", "whole")

    def check_save(self, fault):
        self.check(self.agent(NO_LIVE_SNAPSHOT), lambda: is_saving(self.guest), fault, "deleted", "whole")


def test_restarted_while_the_disk_is_read(env):
    env.check_read(env.restart)


def test_restarted_while_the_disk_is_copied(env):
    env.check_copy(env.restart)


def test_restarted_while_the_guest_is_saved(env):
    env.check_save(env.restart)


def test_hangs_while_the_disk_is_read(env):
    env.check_read(env.hang)


def test_hangs_while_the_disk_is_copied(env):
    env.check_copy(env.hang)


def test_hangs_while_the_guest_is_saved(env):
    env.check_save(env.hang)


def test_hangs_when_a_cast_comes(env):
    case = Case(env, env.agent())
    env.libvirt.signal(signal.SIGSTOP)
    try:
        case.send()
        case.wait_failed()
        assert "did not answer (virConnectOpen) in 3 s" in case.said(), case.said()
    finally:
        env.libvirt.signal(signal.SIGCONT)
    case.is_deleted()


def test_restarted_while_a_shelve_waits_for_the_shutdown(env):
    """It is down for longer than a connection to it is tried."""
    case = Shelve(env).send()
    env.libvirt.kill()
    time.sleep(6)
    env.libvirt.start()
    case.wait_end()
    assert case.vm_state() == "shelved" and env.guest.state() == "shut off", case.said()
    case.state = "shut off"
    assert case.outcome() == "whole", case.said()


def test_away_until_the_time_of_a_shutdown_is_over(env):
    """Whether the guest is off is unknown: the shelve fails, and the guest runs on."""
    case = Shelve(env).send()
    qemu = env.guest.pid()
    env.libvirt.kill()
    try:
        case.wait_failed(90)
        assert env.conductor.fields.get(env.guest.uuid, {}).get("vm_state") != "shelved", case.said()
        os.kill(qemu, 0)
    finally:
        env.libvirt.start()
    case.is_deleted()


def test_qemu_hangs_and_libvirt_refuses_the_rollback(env):
    """libvirt makes each call wait for half a minute while it saves the guest."""
    agent = env.agent(NO_LIVE_SNAPSHOT, libvirt_call_timeout="60")
    case, sender = env.send(agent, lambda: is_saving(env.guest))
    qemu = env.guest.pid()
    os.kill(qemu, signal.SIGSTOP)
    try:
        sender.join()
        case.wait_failed(90)
        assert "asking for the guest's jobs: Timed out during operation" in case.said(), case.said()
        assert is_saving(env.guest)
    finally:
        os.kill(qemu, signal.SIGCONT)
    case.is_deleted()


if __name__ == "__main__":
    tap.main(LibvirtdFails)
