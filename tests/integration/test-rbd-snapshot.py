#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A cast becomes an image of a guest's disk in Ceph, by a snapshot there, in each state of the guest, which goes on. After
every end, also after a kill, the disk has no snapshot. RabbitMQ, libvirt, QEMU, Ceph and Glance are real; Glance stands
behind a stand-in that holds uploads up. The conductor is a stand-in."""
import contextlib
import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from case import Case, CaseEnvironment  # noqa: E402
from ceph import NOVA_CAPS  # noqa: E402
from compute import CONTEXT, instance_of  # noqa: E402
from images import WRITTEN, filesystem_state, is_one_instant, qemu_img, rounds_in, same_content  # noqa: E402
from paths import BUILD  # noqa: E402
from process import running_in  # noqa: E402
from rbd_guest import RbdGuest  # noqa: E402

AGENT = {"image_hw_qemu_guest_agent": "yes"}
DELETE_SECONDS = 10  # nova tries for a minute to remove the disk of a server that is deleted


class RbdCase(Case):
    """A cast of a guest in Ceph."""
    offset = 0  # from which on the image must be the disk; before it, the guest goes on writing
    format = "raw"

    def check_guest(self):
        assert self.guest.state() == self.state, self.guest.state()
        assert not self.guest.has_job()
        assert self.guest.definition() == self.definition
        assert self.guest.snapshots() == [], self.guest.snapshots()

    def check_image(self):
        record = self.glance.get(self.image)
        if record is None:
            return "deleted"
        assert record["status"] == "active" and record["disk_format"] == self.format, record
        disk = self.agent.folder + "/disk"
        self.guest.ceph.export_file(self.guest.pool, self.guest.image, disk)
        try:
            assert same_content(self.glance.file(self.image), self.format, disk, "raw", self.offset)
        finally:
            os.remove(disk)
        return "whole"


class WriterCase(RbdCase):
    """The same, of the guest that writes numbered blocks."""
    offset = WRITTEN


class RbdSnapshots(CaseEnvironment):
    services = ("ceph", "broker", "glance", "libvirt", "conductor", "kernel")
    guest_options = {"size_mib": 64, "data_mib": 4}

    def set_up(self):
        self.ceph.wait()
        self.libvirt.wait()
        self.user = self.ceph.user("nova", NOVA_CAPS)
        self.user.define_secret(self.libvirt)
        self.writer = self.make_rbd_guest(writer=True, size_mib=72, data_mib=8)
        self.writer.start()
        super().set_up()

    def make_guest(self, **kind):
        return self.make_rbd_guest(**kind)

    def make_rbd_guest(self, **kind):
        return self.enter(RbdGuest(self.libvirt, self.folder, self.ceph, self.user, **kind))

    def before_test(self):
        super().before_test()
        self.writer.reset()

    def make_large_guest(self):
        """Returns a guest with more data than is read ahead: an upload that is held up has not read all of it."""
        guest = self.make_rbd_guest(size_mib=128, data_mib=96)
        guest.start()
        return guest

    def make_agent(self, name="agent", sections=None, user=None, **novasnap):
        user = user or self.user
        keys = {"images_type": "rbd", "images_rbd_pool": "vms", "images_rbd_ceph_conf": user.conf,
                "rbd_user": user.name, "connection_uri": self.libvirt.uri}
        sections = sections or {}
        return super().make_agent(name, {**sections, "libvirt": {**keys, **sections.get("libvirt", {})}}, **novasnap)

    def snapshot(self, agent, guest=None, kind=RbdCase):
        case = kind(self, agent, guest).send()
        case.is_whole()
        assert "method: stream" in case.said() or "method stream" in case.said(), case.said()
        return case

    def hold_case(self, agent, kind=RbdCase, guest=None):
        """Begins a snapshot whose upload is held up until `front.release` is set."""
        self.front.reset("hold")
        case = kind(self, agent, guest).send()
        self.wait_held(1)
        return case

    def is_refused(self, agent, *words, guest=None):
        case = RbdCase(self, agent, guest).send()
        case.is_deleted()
        assert all(word in case.said() for word in words), case.said()
        return case


def children(agent):
    """Returns the pids of the children that talk to Ceph."""
    return [pid for pid, name in running_in(agent.pids) if name == "novasnap-rbd"]


def test_a_running_guest_that_writes(env):
    agent, guest = env.start_agent(), env.writer
    guest.wait_writing(1)
    pid = guest.pid()
    case = env.hold_case(agent, WriterCase, guest)
    (name,) = guest.snapshots()
    assert name.startswith("novasnap-"), name
    # The guest goes on during the upload.
    guest.wait_writing(2)
    env.front.release.set()
    case.is_whole()
    rounds = rounds_in(env.glance.file(case.image), "raw")
    assert is_one_instant(rounds) and max(rounds) > 0, rounds
    assert guest.pid() == pid and not guest.is_saved()
    guest.wait_writing(1)


def test_the_image_is_the_disk_at_the_instant_of_the_snapshot(env):
    agent, guest = env.start_agent(), env.guest
    guest.set_condition("shut off")
    case = env.hold_case(agent)
    before = env.ceph.hash_image("vms", guest.image)
    env.ceph.write_image("vms", guest.image, os.urandom(1 << 20), 1 << 20)
    env.front.release.set()
    case.wait_end()
    case.check_guest()
    path = env.glance.file(case.image)
    env.ceph.import_file(path, "vms", "compared")
    try:
        assert env.ceph.hash_image("vms", "compared") == before != env.ceph.hash_image("vms", guest.image)
    finally:
        env.ceph.rbd("rm", "--no-progress", "vms/compared")


def test_each_state_of_the_guest(env):
    agent = env.start_agent()
    for condition in ("running", "paused", "saved", "shut off"):
        env.guest.set_condition(condition)
        env.snapshot(agent)
        assert env.guest.condition() == condition


def test_a_guest_that_is_started_meanwhile(env):
    agent = env.start_agent()
    env.writer.set_condition("shut off")
    case = env.hold_case(agent, WriterCase, env.writer)
    env.writer.start()
    env.writer.wait_writing(1)
    case.state = "running"
    env.front.release.set()
    case.is_whole()
    assert is_one_instant(rounds_in(env.glance.file(case.image), "raw"))


def test_a_clone_has_the_data_of_its_parent(env):
    env.ceph.create("images", "base", 32)
    env.ceph.write_image("images", "base", os.urandom(6 << 20), 1 << 20)
    env.ceph.rbd("snap", "create", "--no-progress", "images/base@snap")
    env.ceph.rbd("snap", "protect", "images/base@snap")
    clone = env.make_rbd_guest(parent="images/base@snap")
    env.ceph.write_image("vms", clone.image, b"x" * 65536, 2 << 20)
    env.snapshot(env.start_agent(), clone)


def test_whatever_methods_are_configured(env):
    agent = env.start_agent(sections={"workarounds": {"disable_libvirt_livesnapshot": "true"}}, live_method="rebase",
                            cold_method="internal")
    pid = env.guest.pid()
    env.snapshot(agent)
    assert env.guest.pid() == pid


def test_formats(env):
    class Qcow2Case(RbdCase):
        format = "qcow2"

    agent = env.start_agent(sections={"libvirt": {"snapshot_image_format": "qcow2"}})
    case = env.snapshot(agent, kind=Qcow2Case)
    qemu_img("check", "-f", "qcow2", env.glance.file(case.image))
    agent = env.start_agent(sections={"libvirt": {"snapshot_image_format": "vmdk"}})
    env.is_refused(agent, "is in Ceph: its image can be raw or qcow2, but not vmdk")


def test_the_guest_is_frozen_only_while_the_snapshot_is_made(env):
    class FrozenCase(RbdCase):
        def send(self):
            path = env.folder.file("cast.json")
            message = {"method": "snapshot_instance", "version": "6.0",
                       "args": {"image_id": self.image, "instance": instance_of(self.guest, **AGENT)},
                       **{f"_context_{key}": value for key, value in CONTEXT.items()}}
            with open(path, "w") as file:
                json.dump(message, file)
            self.agent.command("send", "snapshot_instance", "--file", path, "--image", self.image)
            return self

        def check_image(self):
            return "whole" if self.glance.get(self.image)["status"] == "active" else "other"

    guest = env.make_rbd_guest(fs=True, agent=True, size_mib=96, data_mib=8)
    guest.start()
    guest.wait_agent()
    guest.wait_writing(1)
    case = env.hold_case(env.start_agent(), FrozenCase, guest)
    assert not guest.frozen()
    guest.wait_writing(1)
    env.front.release.set()
    case.is_whole()
    assert filesystem_state(env.glance.file(case.image), "raw") == (False, True)


def test_nothing_is_left_of_a_failure(env):
    agent = env.start_agent(sections={"retries": 0})
    env.front.reset(500)
    RbdCase(env, agent).send().is_deleted("answered 500")


def test_nothing_is_left_of_a_cancelled_snapshot(env):
    agent = env.start_agent()
    case = env.hold_case(agent)
    agent.command("cancel", case.image)
    env.front.release.set()
    case.is_deleted("cancelled")
    assert children(agent) == []


def test_after_a_kill_the_snapshot_is_taken_again(env):
    agent = env.start_agent()
    case = env.hold_case(agent)
    (first,) = env.guest.snapshots()
    assert children(agent)
    agent.kill()
    tap.wait_for("end of the child", lambda: not children(agent), 10)
    env.front.reset("hold")
    agent.start()
    env.wait_held(1)
    (second,) = env.guest.snapshots()
    assert second != first
    env.front.release.set()
    case.is_whole()


def test_a_child_that_is_killed_costs_another_attempt(env):
    agent = env.start_agent()
    case = env.hold_case(agent, guest=env.make_large_guest())
    for pid in children(agent):
        os.kill(pid, signal.SIGKILL)
    env.front.release.set()
    case.is_whole()
    assert "taking a new snapshot" in case.said(), case.said()


def test_a_guest_that_is_deleted_meanwhile(env):
    """nova tries for some time to remove the disk of a server that is deleted. It must not fail because of us."""
    agent, guest = env.start_agent(), env.make_rbd_guest(**env.guest_options)
    guest.start()
    case = env.hold_case(agent, guest=guest)
    assert not guest.delete_disk()
    guest.delete()
    began = time.monotonic()
    tap.wait_for("removal of the disk", guest.delete_disk, DELETE_SECONDS, 1)
    print(f"# the disk was removed {time.monotonic() - began:.1f} s after the guest")
    env.front.release.set()
    case.wait_end()
    assert "the guest was deleted while the snapshot of its disk was read" in case.said(), case.said()
    assert env.glance.get(case.image) is None
    case.nothing_left()


def test_a_server_is_deleted_in_the_order_of_nova(env):
    """nova removes the disk before it undefines the guest, so only the conductor knows of the deletion."""
    agent, guest = env.start_agent(), env.make_rbd_guest(**env.guest_options)
    for is_running in (False, True):
        if is_running:
            guest.start()
        case = env.hold_case(agent, guest=guest)
        env.conductor.task_states[guest.uuid] = "deleting"
        if is_running:
            guest.virsh("destroy")
        assert guest.snapshots()
        began = time.monotonic()
        tap.wait_for("removal of the snapshot", lambda: not guest.snapshots(), DELETE_SECONDS, 0.2)
        print(f"# the disk could be removed after {time.monotonic() - began:.1f} s")
        env.front.release.set()
        case.wait_end()
        assert "being deleted" in case.said() and env.glance.get(case.image) is None, case.said()
        case.nothing_left()
        env.conductor.reset()


def test_a_guest_that_is_deleted_before(env):
    agent, guest = env.start_agent(), env.make_rbd_guest(size_mib=32, data_mib=1)
    env.ceph.rbd("rm", "--no-progress", f"vms/{guest.image}")
    case = Case(env, agent, guest).send()
    case.wait_end()
    assert guest.image in case.said() and env.glance.get(case.image) is None, case.said()


def test_check(env):
    agent = env.make_agent()
    shown = agent.command("check", check=False).stdout
    assert f"Ceph as client.nova: cluster {env.ceph.fsid}, disks in the pool vms" in shown, shown
    agent = env.make_agent(rbd_program="/none/novasnap-rbd")
    shown = agent.command("check", check=False).stdout
    line = next(line for line in shown.split("\n") if "Ceph as client.nova" in line)
    assert line.startswith("FAIL") and "/none/novasnap-rbd" in line, line


def test_wrong_settings(env):
    wrong = env.ceph.user("wrong", NOVA_CAPS)
    with open(wrong.keyring, "w") as file:
        file.write(f"[client.wrong]\nkey = {env.ceph._new_key()}\n")
    env.is_refused(env.start_agent(user=wrong), "Ceph")
    nobody = env.ceph.user("nobody", {"mon": "profile rbd", "osd": "profile rbd-read-only pool=vms"})
    env.is_refused(env.start_agent(user=nobody), env.guest.image)
    env.is_refused(env.start_agent(sections={"libvirt": {"images_rbd_ceph_conf": "/none/such.conf"}}), "/none/such.conf")
    env.is_refused(env.start_agent(rbd_program="/none/novasnap-rbd"), "/none/novasnap-rbd")


@contextlib.contextmanager
def osd_stopped(env):
    env.ceph.stop_osd()
    try:
        yield
    finally:
        env.ceph.start_osd()


def test_no_osd_is_up(env):
    agent = env.start_agent(rbd_timeout="4")
    case = RbdCase(env, agent)
    with osd_stopped(env):
        case.send()
        case.wait_failed(60)
        assert env.glance.get(case.image) is None
    case.is_deleted()
    assert "in 4 s" in case.said(), case.said()
    env.snapshot(agent)


def test_qemu_makes_the_snapshot_late(env):
    """QEMU, which holds the lock of the disk, is asked for the snapshot, and does not run until the snapshot has failed. It
    still makes it then. It runs again before Ceph gives it up, after 30 s."""
    mark, program = env.folder.file("mark"), env.folder.file("novasnap-rbd")
    with open(program, "w") as file:  # a stand-in that stops QEMU before the snapshot is asked for
        file.write(f'#!/bin/sh\nif mkdir {mark} 2>/dev/null; then kill -STOP {env.writer.pid()}; fi\n'
                   f'exec {BUILD}/novasnap-rbd "$@"\n')
    os.chmod(program, 0o755)
    agent = env.start_agent(rbd_timeout="4", rbd_program=program)
    disk = f"{env.writer.pool}/{env.writer.image}"
    tap.wait_for("the lock", lambda: "exclusive" in env.ceph.rbd("lock", "ls", disk), 30)
    try:
        case = WriterCase(env, agent, env.writer).send()
        tap.wait_for("the method", lambda: "method stream" in agent.text(), 30)
        (first,) = tap.wait_for("the child", lambda: children(agent), 30)
        tap.wait_for("its end", lambda: first not in children(agent), 30)
        time.sleep(4)
        assert env.writer.snapshots() == []
    finally:
        os.kill(env.writer.pid(), signal.SIGCONT)
    tap.wait_for("the late snapshot", env.writer.snapshots, 60, 0.02)
    case.is_deleted("no answer from Ceph")


def test_the_osd_hangs_during_the_upload(env):
    agent = env.start_agent(rbd_timeout="4")
    case = env.hold_case(agent, guest=env.make_large_guest())
    env.ceph.pause_osd()
    try:
        env.front.release.set()
        case.wait_failed(90)
    finally:
        env.ceph.resume_osd()
    # The snapshot is removed once the OSD answers.
    case.is_deleted()


def test_the_pool_is_full(env):
    agent = env.start_agent()
    env.guest.set_condition("shut off")
    env.ceph.set_quota("vms", 1 << 20)
    try:
        time.sleep(4)  # until the OSD knows
        case = RbdCase(env, agent).send()
        case.wait_end()
    finally:
        env.ceph.set_quota("vms", 0)
    # A snapshot that Ceph makes in such a pool may be one that it cannot open.
    assert case.outcome() == "whole" or "the pool vms may be" in case.said(), case.said()


if __name__ == "__main__":
    tap.main(RbdSnapshots)
