#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests whose root disk is a logical volume (images_type = lvm): each method for running, paused and stopped guests, and
what other programs may do to the volume meanwhile, nova's delete above all. RabbitMQ, libvirt, QEMU and Glance are
real; the conductor is a stand-in, and so is nova-compute's delete. Where the kernel has no device mapper, as on the
machines that these tests were written on, the volume is a loop device; tests/lib/block.py says what differs."""
import os
import re
import signal
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from agent import NO_LIVE_SNAPSHOT  # noqa: E402
from block import BlockGuest  # noqa: E402
from case import Case, CaseEnvironment  # noqa: E402
from images import WRITTEN, is_one_instant, rounds_in, same_content  # noqa: E402
from standin_glance import GlanceStandIn  # noqa: E402


class VolumeCase(Case):
    """`method`: that must have been used; `still`: the guest does not write."""
    method, still, format = "stream", False, "raw"

    def check_guest(self):
        assert self.guest.condition() == self.state, self.guest.condition()
        assert not self.guest.has_job() and self.guest.definition() == self.definition

    def check_image(self):
        record = self.glance.get(self.image)
        if record is None:
            return "deleted"
        path = self.glance.file(self.image)
        assert record["status"] == "active" and record["disk_format"] == self.format, record
        assert f"method {self.method}, format {self.format}" in self.said(), self.said()
        rounds = rounds_in(path, self.format)
        assert is_one_instant(rounds), rounds
        assert same_content(path, self.format, self.guest.disk, "raw", 0 if self.still else WRITTEN)
        return "whole"


class Volumes(CaseEnvironment):
    services = (*CaseEnvironment.services, "kernel")

    def set_up(self):
        self.wait_services()
        self.guest = self.enter(BlockGuest(self.libvirt, self.folder, writer=True, size_mib=64, data_mib=48))
        self.front = self.enter(GlanceStandIn(self.glance))

    def case(self, agent, guest=None, **what):
        case = VolumeCase(self, agent, guest)
        for key, value in what.items():
            setattr(case, key, value)
        return case

    def held(self, agent, guest):
        """Returns a case whose upload is held: the disk is open, and most of it is not read yet."""
        self.front.reset("hold")
        case = self.case(agent, guest, still=True).send()
        self.wait_held(1)
        return case

    def volume_guest(self):
        """Returns a guest of one test, which boots nothing and is shut off."""
        return self.enter(BlockGuest(self.libvirt, self.folder, size_mib=64, data_mib=48))

    def wait_closed(self, guest, seconds=2):
        tap.wait_for("end of qemu-nbd", lambda: guest.users() == [], seconds, 0.02)


def bytes_written(guest):
    return int(re.search(r"wr_bytes (\d+)", guest.virsh("domblkstat", guest.target)).group(1))


def pid_and_writes(guest):
    return guest.pid(), bytes_written(guest)


def test_a_running_guest_is_streamed_while_it_writes(env):
    agent = env.start_agent(upload_bytes_per_second=str(24 << 20))
    env.guest.wait_writing(1)
    pid, before = pid_and_writes(env.guest)
    case = env.case(agent)
    case.send().is_whole()
    # Its QEMU is the same: it was neither saved nor restarted.
    assert env.guest.pid() == pid and bytes_written(env.guest) > before
    assert max(rounds_in(env.glance.file(case.image), "raw")) > 0


def test_a_paused_guest_and_one_that_is_shut_off(env):
    agent = env.start_agent()
    env.guest.wait_writing(1)
    for condition in ("paused", "shut off"):
        env.guest.set_condition(condition)
        env.case(agent, still=True).send().is_whole()


def test_a_block_copy(env):
    agent = env.start_agent(live_method="rebase")
    env.guest.wait_writing(1)
    pid, before = pid_and_writes(env.guest)
    env.case(agent, method="rebase").send().is_whole()
    env.guest.wait_writing(1)
    assert env.guest.pid() == pid and bytes_written(env.guest) > before
    env.guest.set_condition("paused")
    env.case(agent, method="rebase", still=True).send().is_whole()


def test_extract(env):
    agent = env.start_agent(sections=NO_LIVE_SNAPSHOT, cold_method="extract")
    env.guest.wait_writing(1)
    pid = env.guest.pid()
    env.case(agent, method="extract").send().is_whole()
    assert env.guest.pid() != pid  # it was saved and restored, as nova does
    env.guest.set_condition("shut off")
    env.case(agent, method="extract", still=True).send().is_whole()


def test_other_formats(env):
    env.guest.set_condition("paused")
    for wanted, method in (("qcow2", "stream"), ("vmdk", "rebase")):
        agent = env.start_agent(sections={"libvirt": {"snapshot_image_format": wanted}})
        case = env.case(agent, method=method, format=wanted, still=True)
        case.send().wait_end()
        assert case.outcome() == "whole", case.said()


def test_the_guest_is_started_while_its_volume_is_read(env):
    agent = env.start_agent()
    env.guest.set_condition("shut off")
    case = env.held(agent, env.guest)
    case.state, case.still = "running", False
    assert env.guest.users() == ["qemu-nbd"], env.guest.users()
    env.guest.start()
    tap.wait_for("end of qemu-nbd", lambda: "qemu-nbd" not in env.guest.users(), 2, 0.02)
    env.front.release.set()
    case.is_whole()
    assert "taking a new snapshot" in case.said(), case.said()


def test_the_guest_is_stopped_while_it_is_streamed(env):
    agent = env.start_agent()
    env.guest.wait_writing(1)
    case = env.held(agent, env.guest)
    case.state = "shut off"
    env.guest.set_condition("shut off")
    env.front.release.set()
    case.is_whole()
    assert "taking a new snapshot" in case.said(), case.said()


def test_another_program_writes(env):
    agent = env.start_agent()
    guest = env.volume_guest()
    discard = lambda: subprocess.run(  # noqa: E731
        ["blkdiscard", "--offset", str(40 << 20), "--length", str(1 << 20), guest.disk], check=True, timeout=20)
    for what, write in (("past the page cache", lambda: guest.write("direct")),
                        ("through the page cache", lambda: guest.write("dsync")), ("a discard", discard)):
        case = env.held(agent, guest)
        write()
        env.wait_closed(guest)
        env.front.release.set()
        case.is_deleted("another program wrote to " + guest.disk)
        assert "taking a new snapshot" not in case.said(), (what, case.said())


def test_what_another_program_has_only_in_the_page_cache(env):
    """The kernel counts a write when it leaves the page cache. Reading the same place past the cache makes it do so."""
    agent = env.start_agent(upload_bytes_per_second=str(24 << 20))
    guest = env.volume_guest()
    case = env.held(agent, guest)
    guest.write(megabyte=60)
    env.front.release.set()
    case.is_deleted("another program wrote to " + guest.disk)


def test_it_is_closed_while_novasnapd_waits_for_the_conductor(env):
    """Whatever novasnapd is doing, the volume must not stay open."""
    agent = env.start_agent()
    events = {"overwritten": lambda guest: guest.clear(), "undefined": lambda guest: guest.virsh("undefine")}
    for event, happen in events.items():
        guest, asked, go_on = env.volume_guest(), threading.Event(), threading.Event()
        saves = []

        def before_save(_uuid, state, asked=asked, go_on=go_on, saves=saves):
            saves.append(state)
            # The last one before the upload.
            if saves.count("image_uploading") == 2:
                asked.set()
                go_on.wait(20)
        env.conductor.before_save = before_save
        case = env.case(agent, guest).send()
        assert asked.wait(30) and guest.users() == ["qemu-nbd"], (event, guest.users())
        try:
            happen(guest)
            env.wait_closed(guest)
        finally:
            env.conductor.before_save = None
            go_on.set()
        case.wait_end()
        assert env.glance.get(case.image) is None and env.front.stored == [], (event, case.said())


def test_extract_lets_go_too(env):
    agent = env.start_agent(cold_method="extract")
    guest = env.volume_guest()
    # A stand-in for a qemu-img that takes long to copy.
    slow = env.folder.make("slow")
    with open(os.path.join(slow, "qemu-img"), "w") as file:
        file.write(f"#!/bin/sh\nexec 9<{guest.disk}\nexec sleep 60\n")
    os.chmod(os.path.join(slow, "qemu-img"), 0o755)
    agent.stop()
    agent.start(env={"PATH": f"{slow}:{os.environ['PATH']}"})
    case = env.case(agent, guest).send()
    tap.wait_for("qemu-img", guest.users, 30)
    guest.clear()
    env.wait_closed(guest)
    case.is_deleted("another program wrote to " + guest.disk)


def delete_as_nova(env, guest, volume_clear="zero"):
    """What nova-compute does when it deletes an instance, in its order (nova.virt.libvirt.driver.destroy)."""
    env.conductor.task_states[guest.uuid] = "deleting"
    if guest.state() != "shut off":
        guest.virsh("destroy")
    if volume_clear != "none":
        guest.clear()
    guest.volume.remove()
    guest.virsh("undefine")
    env.conductor.task_states[guest.uuid] = "gone"


def is_let_go(env, guest, case, **how):
    delete_as_nova(env, guest, **how)
    env.front.release.set()
    tap.wait_for("deletion of the image", lambda: env.glance.get(case.image) is None, 30)
    case.wait_end()
    assert case.agent.left() == [], case.agent.left()
    assert env.glance.get(case.image) is None


def test_the_server_is_deleted_while_it_is_shut_off(env):
    """libvirt reports nothing until the volume is overwritten and removed: nova undefines the guest after that."""
    agent = env.start_agent()
    guest = env.volume_guest()
    is_let_go(env, guest, env.held(agent, guest))


def test_the_volume_is_removed_without_being_overwritten(env):
    """With volume_clear = none only the conductor knows."""
    agent = env.start_agent()
    guest = env.volume_guest()
    case = env.held(agent, guest)
    is_let_go(env, guest, case, volume_clear="none")
    assert "is being deleted" in case.said(), case.said()


def test_the_server_is_deleted_while_it_runs(env):
    """The stream ends with QEMU. Another snapshot would be of a volume that nova is overwriting."""
    agent = env.start_agent()
    guest = env.volume_guest()
    guest.start()
    case = env.held(agent, guest)
    is_let_go(env, guest, case)
    assert env.front.puts() == ["hold"], env.front.puts()


def test_the_server_is_deleted_before_a_second_snapshot(env):
    """The volume is overwritten already when the stream has ended, and nobody writes to it any more."""
    agent = env.start_agent()
    guest = env.volume_guest()
    guest.start()
    env.front.reset("hold")
    case = env.case(agent, guest, still=True, state="shut off").send()
    env.wait_held(1)
    env.conductor.task_states[guest.uuid] = "deleting"
    agent.process.send_signal(signal.SIGSTOP)
    try:
        guest.virsh("destroy")
        guest.clear()
    finally:
        agent.process.send_signal(signal.SIGCONT)
    tap.wait_for("end of the stream", lambda: "taking a new snapshot" in case.said(), 20)
    env.front.release.set()
    case.wait_end()
    assert env.glance.get(case.image) is None and env.front.puts() == ["hold"], (env.front.puts(), case.said())
    assert "being deleted" in case.said(), case.said()
    guest.volume.remove()


def test_there_is_no_conductor_to_ask(env):
    """Then nobody knows why the guest was stopped, and the volume may be overwritten already."""
    agent = env.start_agent(control="none")
    guest = env.volume_guest()
    guest.start()
    env.front.reset("hold")
    case = env.case(agent, guest).send()
    env.wait_held(1)
    guest.virsh("destroy")
    env.front.release.set()
    case.wait_end()
    assert "no conductor that knows whether" in case.said(), case.said()
    assert env.glance.get(case.image) is None


def test_the_guest_is_undefined_while_its_volume_is_read(env):
    agent = env.start_agent()
    guest = env.volume_guest()
    case = env.held(agent, guest)
    guest.virsh("undefine")
    env.conductor.task_states[guest.uuid] = "gone"
    env.wait_closed(guest)
    guest.volume.remove()
    env.front.release.set()
    tap.wait_for("deletion of the image", lambda: env.glance.get(case.image) is None, 30)
    case.wait_end()


if __name__ == "__main__":
    tap.main(Volumes)
