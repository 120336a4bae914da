#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What may happen to a guest, its image and its host while its disk is streamed: the guest starts, stops, is deleted or
fills its scratch file; the image is deleted; the snapshot is cancelled; the export hangs or is ended. RabbitMQ,
libvirt, QEMU and Glance are real. Uploads are slow because of novasnap's own limit."""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid

import psutil

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from environment import WriterEnvironment  # noqa: E402
from images import MIB, WRITTEN, is_one_instant, qemu_img, rounds_in, same_content  # noqa: E402
from paths import CAST  # noqa: E402
from process import end, spawn  # noqa: E402
from standin_glance import GlanceStandIn  # noqa: E402
from standin_room import RoomStandIn  # noqa: E402

SLOW = str(12 * MIB)  # bytes a second: three seconds for a guest of 36 MiB


class Streams(WriterEnvironment):
    services = ("broker", "glance", "libvirt", "kernel")

    def __init__(self, folder, stack):
        # libvirtd sees only what was mounted before it.
        self.small, self.narrow, self.shared = (folder.make(name) for name in ("small", "narrow", "shared"))
        for path, size in ((self.small, 4), (self.narrow, 3), (self.shared, 64)):
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m,mode=711", "none", path], check=True,
                           timeout=20)
            stack.callback(subprocess.run, ["umount", path], check=True, timeout=20)
        super().__init__(folder, stack)

    def agent(self, sections=None, **novasnap):
        return self.start_agent(sections=sections, **{"upload_bytes_per_second": SLOW, "image_poll_interval": "1",
                                                      **novasnap})

    def upload(self, agent=None, guest=None):
        return Upload(agent or self.agent(), guest or self.guest)

    def check_whole(self, upload, whole=False):
        """`whole`: the guest was shut off, and has not written since."""
        assert upload.status == 0, (upload.shown, upload.said())
        path = self.glance.file(upload.image)
        assert self.glance.get(upload.image)["status"] == "active"
        assert "method: stream" in upload.shown, upload.shown
        qemu_img("check", "-f", "qcow2", path)
        rounds = rounds_in(path, "qcow2")
        assert is_one_instant(rounds) and max(rounds) > 0, rounds
        assert same_content(path, "qcow2", self.guest.disk, "qcow2", 0 if whole else WRITTEN)
        self.nothing_left(upload.agent)

    def check_failed(self, upload, words):
        assert upload.status == 1 and words in upload.shown, (upload.shown, upload.said())
        tap.wait_for("deletion of the image", lambda: self.glance.get(upload.image) is None, 10)
        self.nothing_left(upload.agent)

    def nothing_left(self, agent):
        assert not self.guest.has_job() and agent.left() == [], agent.left()
        assert os.listdir(self.small) == []


class Upload(threading.Thread):
    """A snapshot. A `with` block begins when its upload is under way."""

    def __init__(self, agent, guest):
        super().__init__()
        self.agent, self.guest = agent, guest
        self.image = self.shown = self.status = None
        self.offset = len(agent.text())

    def run(self):
        self.image, self.shown, self.status = self.agent.snapshot(self.guest.uuid)

    def said(self):
        """Returns the log since the snapshot was requested."""
        return self.agent.text()[self.offset:]

    def image_in_log(self):
        """Returns the image's id, while the upload is under way."""
        return self.said().split("snapshot into image ")[1][:36]

    def __enter__(self):
        self.start()
        tap.wait_for("upload", lambda: "bytes to upload" in self.said(), 30)
        time.sleep(0.5)
        assert self.is_alive(), (self.shown, self.said())
        return self

    def __exit__(self, *_):
        self.join(120)

    def end(self, seconds=120):
        """Waits for the end, and returns how long that took."""
        begin = time.monotonic()
        self.join(seconds)
        assert not self.is_alive(), self.said()
        return time.monotonic() - begin


def disk_server(agent):
    """Returns the qemu-nbd that serves the disk of a guest that is shut off."""
    return tap.wait_for("qemu-nbd", lambda: next(
        (child for child in psutil.Process(agent.process.pid).children() if child.name() == "qemu-nbd"), None),
        30, 0.001)


def bytes_written(guest):
    return int(re.search(r"wr_bytes (\d+)", guest.virsh("domblkstat", guest.target)).group(1))


def test_the_guest_writes(env):
    with env.upload() as upload:
        assert env.guest.has_job()
        before = bytes_written(env.guest)
        upload.end()
        assert bytes_written(env.guest) > before
    env.check_whole(upload)
    assert "s left" in upload.shown, upload.shown
    assert "cannot report the growth of the scratch file" not in upload.said(), upload.said()


def test_a_paused_guest_goes_on(env):
    env.guest.virsh("suspend")
    with env.upload() as upload:
        env.guest.virsh("resume")
        upload.end()
    env.check_whole(upload)
    env.guest.wait_writing(1)


def test_the_guest_stops_and_the_upload_begins_again(env):
    with env.upload() as upload:
        env.guest.virsh("destroy")
        upload.end()
    assert "taking a new snapshot" in upload.said(), upload.said()
    env.check_whole(upload, whole=True)


def test_the_guest_starts_and_the_upload_begins_again(env):
    env.guest.virsh("destroy")
    with env.upload() as upload:
        begin = time.monotonic()
        env.guest.start()
        assert time.monotonic() - begin < 20
        upload.end()
    assert "taking a new snapshot" in upload.said(), upload.said()
    env.check_whole(upload)
    env.guest.wait_writing(1)


def test_an_export_that_hangs_is_killed(env):
    env.guest.virsh("destroy")
    with env.upload(env.agent(nbd_timeout="2")) as upload:
        server = disk_server(upload.agent)
        server.suspend()
        upload.end()
    # The next attempt has a server of its own.
    assert "no answer within 2 s" in upload.said() and "sending SIGKILL" in upload.said()
    assert not server.is_running()
    env.check_whole(upload, whole=True)


def test_the_image_is_deleted_before_its_upload(env):
    env.guest.virsh("destroy")
    upload = env.upload(env.agent(detect_zeroes="scan"))
    upload.start()
    server = disk_server(upload.agent)
    server.suspend()
    env.glance.delete(upload.image_in_log())
    assert upload.end() < 15
    env.check_failed(upload, "was deleted")
    assert "bytes to upload" not in upload.said()
    assert not server.is_running()


def test_after_a_failed_upload_the_same_instant_is_sent(env):
    front = env.enter(GlanceStandIn(env.glance))
    front.faults.append("cut")
    agent = env.agent({"glance_url": front.url}, upload_bytes_per_second="0")
    image, shown, status = agent.snapshot(env.guest.uuid)
    assert status == 0, (shown, agent.text())
    assert "attempts 2" in agent.text() and "taking a new snapshot" not in agent.text()
    rounds = rounds_in(env.glance.file(image), "qcow2")
    assert is_one_instant(rounds), rounds


def test_cancelled_through_the_status_socket(env):
    with env.upload() as upload:
        upload.agent.command("cancel", env.guest.uuid)
        assert upload.end() < 4
    env.check_failed(upload, "cancelled")
    other = upload.agent.command("cancel", str(uuid.uuid4()), check=False)
    assert other.returncode == 1 and "no snapshot of" in other.stderr, other
    assert upload.agent.command("cancel", "nonsense", check=False).returncode == 2


def test_cancelled_by_the_number_of_the_job(env):
    with env.upload() as upload:
        number = upload.agent.shown(env.guest.uuid).split()[0]
        upload.agent.command("cancel", number)
        assert upload.end() < 4
    env.check_failed(upload, "cancelled")
    for other, words in ((number, f"no snapshot is running in job {number}"), ("4711", "the journal has no job 4711")):
        done = upload.agent.command("cancel", other, check=False)
        assert done.returncode == 1 and words in done.stderr, done


def test_cancelled_through_the_broker(env):
    with env.upload() as upload:
        upload.agent.command("cancel", env.guest.uuid, "--host", upload.agent.host)
        assert upload.end() < 4
    env.check_failed(upload, "cancelled")


def test_progress_is_shown(env):
    with env.upload() as upload:
        tap.wait_for("progress", lambda: re.search(r"uploading the image, [1-9]\d? %\)",
                                                   upload.agent.command("jobs", "--open").stdout), 20)
        shown = upload.agent.command("show", env.guest.uuid).stdout
        upload.end()
    assert re.search(r"now       uploading the image, [1-9]\d? %\n", shown), shown
    assert "now" not in upload.agent.command("show", env.guest.uuid).stdout
    env.check_whole(upload)


def test_nonsense_at_the_status_socket(env):
    agent = env.agent()

    def visit(*packets):
        visitor = env.enter(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        # It waits for its turn. A Python socket with a time limit would not.
        visitor.connect(os.path.join(agent.state, "journal", "status"))
        visitor.settimeout(10)
        for packet in packets:
            visitor.send(packet)
        return visitor
    for packet in (b"nonsense", b"[" * 1000, b"{" + b" " * 5000, b'{"ask": 1}', b'{"ask": "cancel"}',
                   b'{"ask": "cancel", "id": {}}', b"\0\xff"):
        assert b'"error"' in visit(packet).recv(1 << 16), packet
    # Clients that ask nothing are disconnected, at once if there are many.
    silent = [visit() for _ in range(20)]
    assert all(visitor.recv(1) == b"" for visitor in silent)
    status = json.loads(visit(b'{"ask": "status"}').recv(1 << 16))
    assert status["ready"] and not status["paused"] and status["jobs"] == [], status
    assert status["pid"] == agent.process.pid, status


def test_the_image_is_deleted(env):
    with env.upload() as upload:
        image = upload.image_in_log()
        tap.wait_for("data", lambda: env.glance.get(image)["status"] == "saving", 30)
        env.glance.delete(image)
        assert upload.end() < 5
    env.check_failed(upload, "deleted during its upload")


def test_the_backup_job_is_ended_by_somebody_else_and_begins_again(env):
    with env.upload() as upload:
        env.guest.virsh("domjobabort")
        upload.end()
    assert "taking a new snapshot" in upload.said(), upload.said()
    env.check_whole(upload)


def test_no_room_for_the_scratch_file(env):
    agent = env.agent(scratch_dir=env.small, scratch_percent="10", upload_bytes_per_second="0")
    image, shown, status = agent.snapshot(env.guest.uuid)
    assert status == 0 and "method: rebase" in shown, shown
    assert "scratch_dir" in agent.text() and "using rebase instead" in agent.text(), agent.text()
    assert is_one_instant(rounds_in(env.glance.file(image), "qcow2"))
    assert env.guest.state() == "running"
    env.nothing_left(agent)


def test_no_room_for_any_method(env):
    agent = env.agent({"libvirt": {"snapshots_directory": env.small, "connection_uri": env.libvirt.uri}},
                      scratch_dir=env.small)
    _image, shown, status = agent.snapshot(env.guest.uuid)
    assert status == 1, shown
    assert all(word in shown for word in ("scratch_dir", "snapshots_directory", "make room")), shown
    assert env.guest.state() == "running"
    env.nothing_left(agent)


def test_a_large_disk_with_little_data_needs_little_room(env):
    """10 % of its 7 TiB would not fit anywhere here."""
    guest = env.make_guest(size_mib=7 << 20, data_mib=2, base=False)
    guest.start()
    image, shown, status = env.agent(upload_bytes_per_second="0").snapshot(guest.uuid, "--timeout", "100")
    assert status == 0 and "method: stream" in shown, shown
    assert env.glance.get(image)["status"] == "active"


def test_streams_count_each_other(env):
    """There is room for each stream, but not for both."""
    other = env.make_guest(size_mib=64, data_mib=36)
    other.start()
    agent = env.agent(scratch_dir=env.shared, scratch_percent="100", scratch_reserve="1",
                      upload_bytes_per_second=str(4 * MIB))
    with env.upload(agent) as upload:
        _image, shown, status = agent.snapshot(other.uuid)
        assert status == 0 and "method: rebase" in shown, (shown, agent.text())
        assert "for other streams" in agent.text(), agent.text()
        upload.end()
    env.check_whole(upload)


def test_libvirtd_has_other_files(env):
    """libvirtd sees another file system in the folder, as in a container that does not share it."""
    hidden = env.folder.make("hidden")
    inside = ["nsenter", "-t", str(env.libvirt.process.pid), "-m"]
    subprocess.run([*inside, "mount", "-t", "tmpfs", "-o", "size=64m,mode=711", "none", hidden], check=True,
                   timeout=20)
    env.callback(subprocess.run, [*inside, "umount", "-l", hidden], check=True, timeout=20)
    agent = env.agent(scratch_dir=hidden, scratch_reserve="1", upload_bytes_per_second="0")
    image, shown, status = agent.snapshot(env.guest.uuid)
    assert status == 0 and "method: rebase" in shown, (shown, agent.text())
    assert "in a container" in agent.text(), agent.text()
    assert is_one_instant(rounds_in(env.glance.file(image), "qcow2"))
    env.guest.wait_writing(1)
    env.nothing_left(agent)


def test_libvirt_cannot_write_the_scratch_file(env):
    """libvirtd cannot write to the folder, as if its file system squashed root."""
    closed = env.folder.make("closed")
    inside = ["nsenter", "-t", str(env.libvirt.process.pid), "-m"]
    subprocess.run([*inside, "sh", "-c", f"mount --bind {closed} {closed} && mount -o remount,bind,ro {closed}"],
                   check=True, timeout=20)
    env.callback(subprocess.run, [*inside, "umount", "-l", closed], check=True, timeout=20)
    agent = env.agent(scratch_dir=closed, upload_bytes_per_second="0")
    image, shown, status = agent.snapshot(env.guest.uuid)
    assert status == 0 and "method: rebase" in shown, (shown, agent.text())
    assert "is not possible here" in agent.text(), agent.text()
    assert is_one_instant(rounds_in(env.glance.file(image), "qcow2"))
    env.nothing_left(agent)


def test_a_scratch_file_that_grows_does_not_stop_the_guest(env):
    agent = env.agent(scratch_dir=env.small, scratch_percent="0", scratch_reserve="1",
                      upload_bytes_per_second=str(MIB // 2))
    upload = env.upload(agent)
    upload.run()
    env.check_failed(upload, "nearly full")
    assert "has used half of its space" in upload.said(), upload.said()
    assert env.guest.state() == "running"
    env.guest.wait_writing(2)


def agent_without_room(env):
    """Starts an agent whose scratch files run out of room, which it does not see."""
    agent = env.make_agent(scratch_dir=env.small, scratch_percent="0", scratch_reserve="1", image_poll_interval="1",
                           upload_bytes_per_second=str(MIB // 2))
    env.callback(agent.stop)
    agent.start(RoomStandIn(env.folder, env.small).env)
    return agent


def test_lack_of_room_that_only_libvirt_sees_does_not_stop_the_guest(env):
    agent = agent_without_room(env)
    upload = env.upload(agent)
    upload.run()
    env.check_failed(upload, "I/O error")
    assert "resumed" in upload.said(), upload.said()
    assert env.guest.state() == "running"
    env.guest.wait_writing(2)
    assert agent.stop() == 0


def test_a_guest_that_was_unpaused_meanwhile_is_resumed(env):
    """Its user unpauses it after the stream began, and then the scratch file is full."""
    agent = agent_without_room(env)
    env.guest.virsh("suspend")
    with env.upload(agent) as upload:
        env.guest.virsh("resume")
        upload.end()
    env.check_failed(upload, "I/O error")
    assert env.guest.state() == "running"
    env.guest.wait_writing(2)
    assert agent.stop() == 0


def test_a_guest_that_its_user_pauses_stays_paused(env):
    with env.upload() as upload:
        env.guest.virsh("suspend")
        upload.end()
    assert env.guest.virsh("domstate", "--reason") == "paused (user)"
    env.check_whole(upload)


class Lifecycle:
    """libvirt's lifecycle events of a guest, as virsh prints them."""

    def __init__(self, env, guest):
        self.path = env.folder.file("lifecycle")
        uri = env.libvirt.uri
        process = spawn(["virsh", "-c", uri, "event", guest.name, "lifecycle", "--loop"], self.path)
        env.callback(end, process)

    def text(self):
        with open(self.path) as file:
            return file.read()


def test_a_guest_whose_own_disk_is_full_stays_paused(env):
    guest = env.make_guest(writer=True, size_mib=64, data_mib=36)
    disk = os.path.join(env.narrow, "disk.qcow2")
    shutil.move(guest.disk, disk)
    env.callback(os.remove, disk)
    guest.disk = disk
    # The file system of this disk cannot bypass the page cache.
    guest.define(guest.xml().replace("cache='none'", "cache='writeback'"))
    events = Lifecycle(env, guest)
    agent = env.agent(upload_bytes_per_second=str(MIB // 2))
    guest.start()
    upload = env.upload(agent, guest)
    with upload:
        tap.wait_for("full disk", lambda: guest.state() == "paused", 90)
        upload.end()
    tap.wait_for("end of the job", lambda: not guest.has_job(), 20)
    assert guest.virsh("domstate", "--reason") == "paused (I/O error)"
    assert "stays paused" in upload.said(), upload.said()
    assert "Suspended" in events.text() and "Resumed" not in events.text().split("Suspended")[1], events.text()


def test_with_another_hash_only_the_size_is_compared(env):
    agent = env.agent(hash_algo="sha256", upload_bytes_per_second="0")
    _image, _shown, status = agent.snapshot(env.guest.uuid)
    assert status == 0 and "only the size was compared" in agent.text(), agent.text()
    assert "attempts 1, sha256 " in agent.text()


def test_the_export_of_a_killed_novasnapd_is_ended_by_the_next_start(env):
    agent = env.agent()
    agent.command("send", "snapshot_instance", "--file", CAST, "--instance", env.guest.uuid)
    tap.wait_for("upload", lambda: "bytes to upload" in agent.text(), 30)
    # Another process does not end the export of a running novasnapd.
    said = agent.command("snapshot", env.guest.name, "--to", env.folder.make("there"), check=False)
    assert said.returncode == 1 and "another program has started" in said.stdout, said
    assert env.guest.has_job()
    agent.kill()
    assert env.guest.has_job()
    os.mkdir(os.path.join(agent.run_dir, "nbd-stale"))
    mark = len(agent.text())
    agent.start()
    tap.wait_for("end of the export", lambda: not env.guest.has_job(), 20)
    assert "resuming it" in agent.text()[mark:], agent.text()
    tap.wait_for("end of the job", lambda: " is active: " in agent.text()[mark:], 60)
    tap.wait_for("end of the folders", lambda: agent.left() == [], 10)
    assert env.guest.state() == "running"
    env.nothing_left(agent)


def test_the_guest_is_deleted(env):
    guest = env.make_guest(size_mib=64, data_mib=48)
    guest.start()
    with env.upload(guest=guest) as upload:
        guest.virsh("destroy")
        guest.virsh("undefine")
        assert upload.end() < 4
    assert upload.status == 1, upload.shown
    tap.wait_for("deletion of the image", lambda: env.glance.get(upload.image) is None, 10)


if __name__ == "__main__":
    tap.main(Streams)
