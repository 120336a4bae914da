#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest's filesystems are frozen for a snapshot as nova asks, and no guest stays frozen. A real qemu-guest-agent runs
in a guest that writes into its ext4. RabbitMQ, oslo.messaging, libvirt and QEMU are real."""
import json
import os
import signal
import sys
import time
import uuid

import oslo_messaging

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from agent import NO_LIVE_SNAPSHOT  # noqa: E402
from compute import CONTEXT, Compute, instance_of  # noqa: E402
from environment import Environment  # noqa: E402
from images import filesystem_state  # noqa: E402
from process import processes  # noqa: E402

AGENT = {"image_hw_qemu_guest_agent": "yes"}
REQUIRED = {**AGENT, "image_os_require_quiesce": "True"}
THAW_SECONDS = "4"  # after which a guest is thawed in any case


class Quiesce(Environment):
    services = ("broker", "libvirt", "kernel")

    def set_up(self):
        self.guest = self.make_guest(fs=True, agent=True, size_mib=96, data_mib=8)
        self.guest.start()
        self.images = self.folder.make("images")
        self.wait_services()
        self.guest.wait_agent()

    def before_test(self):
        self.guest.reset()
        self.guest.wait_agent()
        self.guest.wait_writing(1)
        self.callback(self.check_thawed)

    def agent(self, quiesce_timeout=THAW_SECONDS, sections=None):
        return self.start_agent(sections={"images": self.images, **(sections or {})}, agent_timeout="3",
                                quiesce_timeout=quiesce_timeout)

    def check_thawed(self):
        """Checks what must be true after each test: the guest writes."""
        if self.guest.state() == "running" and self.guest.answers():
            tap.wait_for("thawed guest", lambda: not self.guest.frozen(), 30)
            self.guest.wait_writing(1)

    def wait_thawed(self):
        tap.wait_for("thawed guest", lambda: not self.guest.frozen(), 30)
        self.guest.wait_writing(2)

    def send(self, agent, metadata):
        """Returns the path of the image, the exit status, and the output."""
        image, cast = str(uuid.uuid4()), self.folder.file(f"{uuid.uuid4()}.json")
        message = {"method": "snapshot_instance", "version": "6.0", "args": {
            "image_id": image, "instance": instance_of(self.guest, **metadata)},
            **{f"_context_{key}": value for key, value in CONTEXT.items()}}
        with open(cast, "w") as file:
            json.dump(message, file)
        done = agent.command("send", "snapshot_instance", "--file", cast, "--image", image,
                             "--watch", "--timeout", "100", check=False)
        assert not self.guest.has_job() and os.listdir(agent.snapshots) == []
        return os.path.join(self.images, image), done.returncode, done.stdout

    def snapshot(self, agent, metadata):
        path, status, shown = self.send(agent, metadata)
        assert status == 0, (shown, agent.text()[-2000:])
        return path

    def refused(self, agent, metadata, *words):
        path, _, shown = self.send(agent, metadata)
        assert not os.path.exists(path), shown
        assert all(word in shown for word in words), shown

    def freeze(self, agent):
        """Freezes the guest by quiesce_instance. Returns the client."""
        compute = self.enter(Compute(self.broker.url, agent.host))
        compute.call("quiesce_instance", instance=instance_of(self.guest, **AGENT))
        assert self.guest.frozen()
        return compute


def test_live_without_freezing_the_filesystem_is_clean_after_a_replay(env):
    agent = env.agent()
    path = env.snapshot(agent, {})
    assert "frozen" not in agent.text()
    _needs_replay, clean = filesystem_state(path, "qcow2")
    assert clean
    env.wait_thawed()


def test_live_and_frozen_no_replay_is_needed(env):
    agent = env.agent()
    for metadata in (AGENT, REQUIRED):
        env.guest.wait_writing(1)
        assert filesystem_state(env.snapshot(agent, metadata), "qcow2") == (False, True)
        env.wait_thawed()


def test_cold_the_filesystem_is_clean_after_a_replay(env):
    path = env.snapshot(env.agent(sections=NO_LIVE_SNAPSHOT), REQUIRED)
    assert filesystem_state(path, "qcow2")[1]
    env.guest.wait_agent()
    env.wait_thawed()


def test_a_paused_guest_is_not_waited_for(env):
    agent = env.agent()
    env.guest.virsh("suspend")
    path = env.snapshot(agent, AGENT)
    assert "the guest and its agent are paused" in agent.text()
    assert filesystem_state(path, "qcow2")[1]
    env.refused(agent, REQUIRED, "os_require_quiesce", "paused")
    env.guest.virsh("resume")
    env.wait_thawed()


def test_freezing_that_is_required_and_not_allowed_fails(env):
    env.refused(env.agent(), {"image_os_require_quiesce": "yes"}, "lacks the property hw_qemu_guest_agent")
    env.wait_thawed()


def test_quiesce_and_unquiesce(env):
    compute = env.freeze(env.agent())
    before = env.guest.rounds()
    assert env.guest.rounds() <= before + 1
    compute.cast("unquiesce_instance", instance=instance_of(env.guest, **AGENT), mapping=None)
    env.wait_thawed()


def test_a_second_quiesce_is_refused(env):
    compute = env.freeze(env.agent(quiesce_timeout="100"))
    try:
        compute.call("quiesce_instance", instance=instance_of(env.guest, **AGENT))
        raise AssertionError("frozen twice")
    except oslo_messaging.RemoteError as error:
        assert error.exc_type == "InternalError" and "already" in error.value, error
    compute.cast("unquiesce_instance", instance=instance_of(env.guest, **AGENT))
    env.wait_thawed()


def test_after_its_time_a_guest_is_thawed_and_unquiesce_says_so(env):
    agent = env.agent()
    compute = env.freeze(agent)
    env.wait_thawed()
    compute.cast("unquiesce_instance", instance=instance_of(env.guest, **AGENT))
    tap.wait_for("log line", lambda: "were thawed earlier" in agent.text(), 20)


def test_a_guest_is_thawed_when_novasnapd_is_killed(env):
    agent = env.agent(quiesce_timeout="100")
    env.freeze(agent)
    agent.kill()
    env.wait_thawed()


def test_a_guest_is_thawed_when_novasnapd_stops(env):
    agent = env.agent(quiesce_timeout="100")
    env.freeze(agent)
    assert agent.stop() == 0
    env.wait_thawed()


def restart_libvirtd(env, down_seconds=0):
    env.libvirt.kill()
    time.sleep(down_seconds)
    env.libvirt.start()


def test_libvirtd_restarts_between_quiesce_and_unquiesce(env):
    compute = env.freeze(env.agent(quiesce_timeout="100"))
    restart_libvirtd(env)
    compute.cast("unquiesce_instance", instance=instance_of(env.guest, **AGENT))
    env.wait_thawed()


def test_libvirtd_restarts_before_the_time_is_over(env):
    env.freeze(env.agent(quiesce_timeout="8"))
    restart_libvirtd(env)
    env.wait_thawed()


def test_libvirtd_is_down_when_the_time_is_over(env):
    env.freeze(env.agent())
    restart_libvirtd(env, 12)
    env.wait_thawed()


def test_libvirtd_and_novasnapd_are_killed_while_the_guest_is_frozen(env):
    agent = env.agent(quiesce_timeout="100")
    env.freeze(agent)
    env.libvirt.kill()
    agent.kill()
    env.libvirt.start()
    env.wait_thawed()


def test_novasnapd_and_the_watchdog_are_killed_while_the_guest_is_frozen(env):
    """Recovery thaws the guest: the freeze is in the journal."""
    agent = env.agent(quiesce_timeout="100")
    env.freeze(agent)
    for pid in watchdogs(env.guest):
        os.kill(pid, signal.SIGKILL)
    agent.kill()
    assert env.guest.frozen()
    agent.start()
    env.wait_thawed()
    tap.wait_for("end of the job", lambda: " open " not in agent.shown(env.guest.uuid), 20)


def test_unquiesce_ends_the_job_of_quiesce(env):
    agent = env.agent(quiesce_timeout="100")
    compute = env.freeze(agent)
    assert "quiesce_instance" in agent.shown(env.guest.uuid)
    compute.cast("unquiesce_instance", instance=instance_of(env.guest, **AGENT))
    env.wait_thawed()
    tap.wait_for("end of the jobs", lambda: " open " not in agent.shown(env.guest.uuid), 20)


def agent_timeout(env):
    """The time limit of the guest agent's replies, from libvirt's record of the running guest."""
    with open(os.path.join(env.libvirt.run, f"qemu/{env.guest.name}.xml")) as file:
        return int(file.read().split("<agentTimeout>")[1].split("<")[0])


BLOCK = -2  # VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK, libvirt's default


def test_the_agents_time_limit_is_only_that_of_our_freeze_and_thaw(env):
    compute = env.freeze(env.agent(quiesce_timeout="100"))
    assert agent_timeout(env) == BLOCK
    compute.cast("unquiesce_instance", instance=instance_of(env.guest, **AGENT))
    env.wait_thawed()
    tap.wait_for("libvirt's default", lambda: agent_timeout(env) == BLOCK, 5)


def test_the_agents_time_limit_after_a_snapshot(env):
    env.snapshot(env.agent(), REQUIRED)
    assert agent_timeout(env) == BLOCK


def test_the_agents_time_limit_after_novasnapd_was_killed(env):
    agent = env.agent(quiesce_timeout="100")
    env.freeze(agent)
    agent.kill()
    env.wait_thawed()
    tap.wait_for("libvirt's default", lambda: agent_timeout(env) == BLOCK, 10)


def watchdogs(guest):
    """Returns the pids of the processes that would thaw a guest."""
    found = []
    for process in processes():
        try:
            with open(f"/proc/{process.pid}/cmdline", "rb") as file:
                command = file.read()
        except OSError:
            continue
        if b"novasnap-thaw" in command and guest.uuid.encode() in command:
            found.append(process.pid)
    return found


def test_a_guest_agent_that_does_not_answer(env):
    agent = env.agent()
    env.guest.agent("guest-exec", path="/bin/busybox", arg=["killall", "-STOP", "qemu-ga"])
    try:
        tap.wait_for("silence of the agent", lambda: not env.guest.answers(), 30)
        path = env.snapshot(agent, AGENT)
        assert "without freezing the guest's filesystems" in agent.text()
        assert filesystem_state(path, "qcow2")[1]
        env.refused(agent, REQUIRED, "os_require_quiesce")
        env.guest.wait_writing(2)
        assert agent.stop() == 0
    finally:
        env.guest.virsh("destroy")
    # The watchdogs find that their guest is stopped, and end.
    tap.wait_for("end of the watchdogs", lambda: not watchdogs(env.guest), 90)


if __name__ == "__main__":
    tap.main(Quiesce)
