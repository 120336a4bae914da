#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests whose disk, or whose disk's controller, has an iothread. QEMU before 8.2.3 aborts when the client of its NBD
server disconnects from such a disk, which kills the guest. Each method takes a snapshot and keeps the guest running,
also when novasnapd is killed in the middle. RabbitMQ, libvirt, QEMU and Glance are real."""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from agent import NO_LIVE_SNAPSHOT  # noqa: E402
from case import is_copying, is_saving  # noqa: E402
from environment import Environment  # noqa: E402
from images import MIB, WRITTEN, is_one_instant, qemu_img, rounds_in, same_content  # noqa: E402
from paths import CAST  # noqa: E402

REBASE = {"novasnap": {"live_method": "rebase"}}
INTERNAL = {**NO_LIVE_SNAPSHOT, "novasnap": {"cold_method": "internal"}}
SLOW = str(12 * MIB)  # bytes per second


def qemu_version():
    text = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in re.search(r"version (\d+)\.(\d+)\.(\d+)", text).groups())


IS_OLD = qemu_version() < (8, 2, 3)
STREAM = "rebase" if IS_OLD else "stream"  # what is taken where `stream` is configured
# QEMU 10.0 and 11.1 lose a request of a disk with an iothread that is under way when the guest is saved, also by "virsh
# managedsave": the restored guest waits for it for ever. So guests do not write there while they are saved.
SAVES_ARE_LOSSY = qemu_version() >= (9, 0)


class Iothreads(Environment):
    services = ("broker", "glance", "libvirt", "kernel")

    def set_up(self):
        self.guests = {kind: self.make_guest(writer=True, size_mib=96, data_mib=24, iothread=kind)
                       for kind in ("disk", "scsi")}
        self.saved_guests = self.guests
        if SAVES_ARE_LOSSY:
            self.saved_guests = {kind: self.make_guest(idle=True, agent=True, size_mib=96, data_mib=24, iothread=kind)
                                 for kind in self.guests}
        for guest in self.all_guests():
            guest.start()
        self.wait_services()

    def all_guests(self):
        return {*self.guests.values(), *self.saved_guests.values()}

    def before_test(self):
        for guest in self.all_guests():
            guest.reset()
            self.check_writes(guest)

    def guest_of(self, kind, saves):
        """Returns the guest of that kind for a test that saves it or does not."""
        return (self.saved_guests if saves else self.guests)[kind]

    def check_writes(self, guest):
        if not guest.idle:
            guest.wait_writing(1)
            return
        guest.wait_agent()
        pid = guest.agent("guest-exec", path="/bin/busybox",
                          arg=["dd", "if=/dev/zero", f"of=/dev/{guest.target}", "bs=4096", "count=1",
                               "conv=notrunc,fsync"])["pid"]
        done = tap.wait_for("write by the guest",
                            lambda: (status := guest.agent("guest-exec-status", pid=pid))["exited"] and status)
        assert done["exitcode"] == 0, done

    def check_alive(self, guest, pid):
        """Checks that the guest runs and writes. `pid`: of the QEMU that must still run; None: the guest was saved
        meanwhile."""
        assert guest.state() == "running", guest.state()
        assert pid is None or guest.pid() == pid
        self.check_writes(guest)

    def check_image(self, guest, image):
        path = self.glance.file(image)
        qemu_img("check", "-f", "qcow2", path)
        if not guest.idle:
            rounds = rounds_in(path, "qcow2")
            assert is_one_instant(rounds) and max(rounds) > 0, rounds
        assert same_content(path, "qcow2", guest.disk, "qcow2", WRITTEN)

    def snapshot(self, kind, sections, method, saves=False):
        """Takes a snapshot, and checks the method, the guest and the image. Returns the log."""
        guest = self.guest_of(kind, saves)
        pid = None if saves else guest.pid()
        agent = self.start_agent(sections=sections)
        image, shown, status = agent.snapshot(guest.uuid)
        said = agent.text()
        assert status == 0, (shown, said[-3000:])
        assert f"method: {method}" in shown, shown
        self.check_alive(guest, pid)
        self.check_image(guest, image)
        return said

    def killed(self, kind, sections, is_amid, saves=False, **novasnap):
        """Kills novasnapd when `is_amid(agent, guest)` is true, and starts it again, which must complete the job."""
        guest = self.guest_of(kind, saves)
        pid = None if saves else guest.pid()
        agent = self.start_agent(sections=sections, **novasnap)
        image = self.glance.create("case", container_format="bare", disk_format="qcow2", instance_uuid=guest.uuid)
        agent.command("send", "snapshot_instance", "--file", CAST, "--instance", guest.uuid, "--image", image)
        tap.wait_for("middle of the snapshot", lambda: is_amid(agent, guest), 60, 0.01)
        agent.kill()
        if not saves:
            self.check_alive(guest, pid)
        agent.start()
        tap.wait_for("end of the job", lambda: agent.has_ended(image), 90, 0.2)
        self.check_alive(guest, pid)
        assert not guest.has_job() and not guest.is_saved()
        if self.glance.get(image):
            self.check_image(guest, image)
        else:
            assert saves, agent.text()[-3000:]


def is_uploading(agent, _guest):
    return "bytes to upload" in agent.text()


def check_stream(said, kind):
    assert ("has an iothread" in said) == IS_OLD, said[-3000:]
    if IS_OLD:
        assert "8.2.3" in said and ("virtio-scsi controller" in said) == (kind == "scsi"), said[-3000:]


def test_stream_of_a_disk(env):
    check_stream(env.snapshot("disk", {}, STREAM), "disk")


def test_stream_of_a_controller(env):
    check_stream(env.snapshot("scsi", {}, STREAM), "scsi")


def test_stream_of_an_older_machine_type(env):
    """An old machine type does not show the version of QEMU, so QEMU is asked."""
    guest = env.make_guest(size_mib=32, data_mib=4, iothread="disk")
    guest.define(guest.xml().replace("machine='pc'", "machine='pc-i440fx-6.2'"))
    guest.start()
    pid = guest.pid()
    _image, shown, status = env.start_agent().snapshot(guest.uuid)
    assert status == 0 and f"method: {STREAM}" in shown, shown
    assert guest.state() == "running" and guest.pid() == pid


def test_stream_of_a_disk_killed(env):
    env.killed("disk", {}, is_uploading, upload_bytes_per_second=SLOW)


def test_stream_of_a_controller_killed(env):
    env.killed("scsi", {}, is_uploading, upload_bytes_per_second=SLOW)


def test_stream_cancelled(env):
    """A cancelled stream closes its connection between its reads."""
    for guest in env.guests.values():
        pid = guest.pid()
        agent = env.start_agent(upload_bytes_per_second=SLOW)
        agent.command("send", "snapshot_instance", "--file", CAST, "--instance", guest.uuid)
        tap.wait_for("upload", lambda text=agent.text: "bytes to upload" in text(), 60)
        agent.command("cancel", guest.uuid)
        tap.wait_for("end of the job", lambda uuid=guest.uuid, ended=agent.has_ended: ended(uuid), 30)
        env.check_alive(guest, pid)


def test_rebase(env):
    for kind in env.guests:
        env.snapshot(kind, REBASE, "rebase")


def test_rebase_killed(env):
    for kind in env.guests:
        env.killed(kind, REBASE, lambda agent, _guest: is_copying(agent))


def test_extract(env):
    for kind in env.guests:
        env.snapshot(kind, NO_LIVE_SNAPSHOT, "extract", saves=True)


def test_extract_killed(env):
    for kind in env.guests:
        env.killed(kind, NO_LIVE_SNAPSHOT, lambda _agent, guest: is_saving(guest), saves=True)


def test_internal(env):
    for kind in env.guests:
        env.snapshot(kind, INTERNAL, "internal", saves=True)


def test_internal_killed(env):
    for kind in env.guests:
        env.killed(kind, INTERNAL, lambda _agent, guest: is_saving(guest), saves=True)


def test_a_guest_that_is_shut_off(env):
    for guest in env.guests.values():
        guest.set_condition("shut off")
        image, shown, status = env.start_agent().snapshot(guest.uuid)
        assert status == 0 and "method: stream" in shown, shown
        assert same_content(env.glance.file(image), "qcow2", guest.disk, "qcow2")


def test_check_says_why(env):
    with env.make_agent() as agent:
        done = agent.command("check", check=False)
    lines = [line for line in done.stdout.splitlines() if "live_method" in line]
    if not IS_OLD:
        assert lines and lines[0].startswith("ok "), done.stdout
        return
    assert len(lines) == len(env.guests) and all(line.startswith("warn") for line in lines), done.stdout
    for guest in env.guests.values():
        line = next(line for line in lines if guest.name in line)
        assert "has an iothread" in line and "8.2.3" in line and "rebase" in line, line


if __name__ == "__main__":
    tap.main(Iothreads)
