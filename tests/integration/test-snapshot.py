#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A recorded cast becomes an image that is the guest's disk at one moment, in each state of the guest and by each
method. What cannot be taken is refused and harms nothing. RabbitMQ, libvirt, QEMU and Glance are real, and so is the
guest, a small Linux that writes all the time."""
import json
import os
import sys
import uuid
from collections import namedtuple

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import tap  # noqa: E402
from agent import NO_LIVE_SNAPSHOT  # noqa: E402
from environment import Environment  # noqa: E402
from images import WRITTEN, is_one_instant, qemu_img, rounds_in, same_content  # noqa: E402
from paths import CAST  # noqa: E402

OWNER = "28139ea3fc804990ad2ed0307cce12ef"  # the project of the recorded cast
TOKEN = "gAAAAABexample-token"  # of the recorded cast


class Snapshots(Environment):
    services = ("broker", "glance", "libvirt", "kernel")

    def set_up(self):
        self.writer = self.make_guest(writer=True, size_mib=128, data_mib=48)
        self.writer.start()
        self.wait_services()

    def before_test(self):
        self.writer.reset()

    def agent(self, sections=None, **novasnap):
        """An agent in whose log there must be no token at the end."""
        agent = self.start_agent(sections=sections, **novasnap)
        self.callback(check_log, agent)
        return agent

    def streaming(self):
        return self.agent()

    def staged(self):
        """The configuration of the methods that copy the disk first."""
        return self.agent(live_method="rebase", cold_method="extract")

    def cold(self):
        return self.agent(NO_LIVE_SNAPSHOT)

    def snapshot(self, agent, state, method):
        """Takes a snapshot of the writer in this state, which it must keep. Returns the path of the image."""
        guest, definition = self.writer, self.writer.definition()
        if state == "running":
            guest.wait_writing(1)
        image, shown, status = agent.snapshot(guest.uuid)
        assert status == 0, (shown, agent.text()[-2000:])
        assert f"method: {method}" in shown, shown
        record, path = self.glance.get(image), self.glance.file(image)
        assert record["status"] == "active" and record["disk_format"] == guest.format, record
        assert record["size"] == os.path.getsize(path)
        assert record["image_location"] == "snapshot" and record["image_state"] == "available", record
        assert record["owner_id"] == OWNER and "kernel_id" not in record, record
        qemu_img("check", "-f", "qcow2", path)
        # A guest that writes goes on, so only what it does not write can be compared.
        assert same_content(path, "qcow2", guest.disk, "qcow2", WRITTEN if state == "running" else 0)
        rounds = rounds_in(path, guest.format)
        assert is_one_instant(rounds) and max(rounds) > 0, rounds
        assert guest.state() == state, (guest.state(), state)
        assert guest.definition() == definition and not guest.has_job()
        assert os.listdir(agent.snapshots) == [], os.listdir(agent.snapshots)
        return path

    def refused(self, agent, guest, *words, more=()):
        image, shown, status = agent.snapshot(guest.uuid, *more)
        assert status == 1 and all(word in shown for word in words), shown
        assert self.glance.get(image) is None


def check_log(agent):
    assert TOKEN not in agent.text()


def test_a_running_guest_that_writes_live(env):
    env.writer.wait_writing()
    env.snapshot(env.streaming(), "running", "stream")
    env.snapshot(env.staged(), "running", "rebase")


def test_a_running_guest_that_writes_cold(env):
    env.snapshot(env.cold(), "running", "extract")
    env.writer.wait_writing(1)
    assert not env.writer.is_saved()


def test_a_paused_guest_live(env):
    env.writer.wait_writing(1)
    env.writer.virsh("suspend")
    env.snapshot(env.streaming(), "paused", "stream")
    env.snapshot(env.staged(), "paused", "rebase")


def test_a_paused_guest_cold_comes_back_paused(env):
    env.writer.wait_writing(1)
    env.writer.virsh("suspend")
    env.snapshot(env.cold(), "paused", "extract")
    env.writer.virsh("resume")
    env.writer.wait_writing(1)


def test_a_suspended_guest_stays_suspended(env):
    env.writer.wait_writing(1)
    env.writer.virsh("managedsave")
    for agent, method in ((env.streaming(), "stream"), (env.staged(), "extract")):
        env.snapshot(agent, "shut off", method)
        assert env.writer.is_saved()
    env.writer.start()
    env.writer.wait_writing(1)


def test_a_guest_that_is_shut_down(env):
    env.writer.wait_writing(1)
    env.writer.virsh("destroy")
    env.snapshot(env.streaming(), "shut off", "stream")
    env.snapshot(env.staged(), "shut off", "extract")


def test_a_raw_disk_stays_raw_whatever_its_guest_wrote(env):
    """A Glance that does not take such an image gets it as qcow2, where that is configured."""
    guest, agent = env.make_guest(disk="raw", base=False, size_mib=64, data_mib=8), env.streaming()
    # CVE-2015-7548: a qcow2 header in a raw disk, whose backing file is of the host.
    trap = os.path.join(guest.folder, "trap.qcow2")
    qemu_img("create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", trap, "1M")
    with open(trap, "rb") as file, open(guest.disk, "r+b") as disk:
        header = file.read(65536)
        disk.write(header)
    takes_raw = env.glance.takes("raw", header)
    wrapping = env.agent({"libvirt": {"snapshot_image_format": "qcow2"}})
    for state in ("shut off", "running"):
        guest.set_condition(state)
        if not takes_raw:
            env.refused(agent, guest, "answered 415", "snapshot_image_format = qcow2")
        for other, disk_format in [(agent, "raw")] * takes_raw + [(wrapping, "qcow2")]:
            image, shown, status = other.snapshot(guest.uuid)
            assert status == 0, shown
            assert env.glance.get(image)["disk_format"] == disk_format
            assert same_content(env.glance.file(image), disk_format, guest.disk, "raw")


def test_of_several_disks_the_root_disk_is_taken(env):
    other = env.folder.file("disk.config")
    qemu_img("create", "-q", "-f", "raw", other, "1M")
    extra = (f"<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
             f"<source file='{other}'/><target dev='vdb' bus='virtio'/></disk>")
    guest = env.make_guest(extra_disks=extra, size_mib=64, data_mib=8)
    image, shown, status = env.streaming().snapshot(guest.uuid)
    assert status == 0, shown
    assert same_content(env.glance.file(image), "qcow2", guest.disk, "qcow2")


def test_an_instance_that_libvirt_does_not_know(env):
    env.refused(env.streaming(), namedtuple("Gone", "uuid")(str(uuid.uuid4())), "no domain with uuid")


def test_an_image_that_does_not_exist(env):
    env.refused(env.streaming(), env.writer, "404", more=["--image", str(uuid.uuid4())])


def test_a_block_job_of_somebody_else_is_left_alone(env):
    guest = env.make_guest(size_mib=64, data_mib=8)
    guest.start()
    mirror = os.path.join(guest.folder, "mirror.qcow2")
    guest.virsh("blockcopy", "vda", mirror, "--format", "qcow2", "--transient-job", "--wait", "--verbose")
    for agent in (env.streaming(), env.staged()):
        env.refused(agent, guest, "another program has started", mirror)
        assert guest.has_job()


def test_a_backup_of_somebody_else_is_left_alone(env):
    guest, agent = env.make_guest(size_mib=64, data_mib=8), env.streaming()
    guest.start()
    target, backup = os.path.join(guest.folder, "backup.qcow2"), os.path.join(guest.folder, "backup.xml")
    with open(backup, "w") as file:
        file.write(f"<domainbackup mode='pull'><server transport='unix' socket='{guest.folder}/socket'/><disks>"
                   f"<disk name='vda' backup='yes' type='file'><scratch file='{target}'/></disk></disks>"
                   "</domainbackup>")
    os.chmod(guest.folder, 0o777)
    guest.virsh("backup-begin", backup)
    env.refused(agent, guest, "another program has started", "/socket")
    assert "pull" in guest.virsh("backup-dumpxml")
    guest.virsh("domjobabort")
    _image, shown, status = agent.snapshot(guest.uuid)
    assert status == 0, shown


def test_a_cast_with_wrong_arguments_is_kept_aside(env):
    agent, cast = env.streaming(), env.folder.file("cast.json")
    with open(CAST) as file:
        message = json.load(file)
    message["args"]["instance"]["nova_object.data"]["uuid"] = "../../etc/passwd"
    message["_context_auth_token"] = "gAAAAAsecret"
    with open(cast, "w") as file:
        json.dump(message, file)
    agent.command("send", "snapshot_instance", "--file", cast, "--image", str(uuid.uuid4()))
    rejected = os.path.join(agent.state, "rejected")
    tap.wait_for("rejected message", lambda: os.path.isdir(rejected) and os.listdir(rejected))
    kept = os.path.join(rejected, os.listdir(rejected)[0])
    assert os.stat(kept).st_mode & 0o777 == 0o600
    with open(kept) as file:
        text = file.read()
    assert "uuid" in text and "gAAAAAsecret" not in text, text[:500]


def test_the_formats_of_the_base_image(env):
    """(version of the instance, the base image's formats, the snapshot's formats, the format of its bytes)"""
    guest = env.make_guest(size_mib=64, data_mib=4)
    cases = [("2.7", ("ami", "ami"), ("ami", "ami"), "raw"),
             ("2.8", ("ami", "ami"), ("qcow2", "ami"), "qcow2"),
             ("2.7", ("qcow2", ""), ("qcow2", "bare"), "qcow2"),
             ("2.8", ("raw", "ovf"), ("qcow2", "ovf"), "qcow2")]
    for agent in (env.streaming(), env.staged()):
        for version, (disk_format, container), expected, kind in cases:
            with open(CAST) as file:
                message = json.load(file)
            instance = message["args"]["instance"]
            instance["nova_object.version"] = version
            instance["nova_object.data"]["system_metadata"].update(image_disk_format=disk_format,
                                                                   image_container_format=container)
            cast = env.folder.file("cast.json")
            with open(cast, "w") as file:
                json.dump(message, file)
            done = agent.command("send", "snapshot_instance", "--file", cast, "--instance", guest.uuid, "--watch",
                                 "--image", env.glance.create(), "--timeout", "60", check=False)
            image = done.stdout.split("\n")[0]
            assert done.returncode == 0, (version, disk_format, done.stdout, done.stderr)
            record = env.glance.get(image)
            assert (record["disk_format"], record["container_format"]) == expected, record
            assert same_content(env.glance.file(image), kind, guest.disk, "qcow2"), (version, disk_format)
            with open(env.glance.file(image), "rb") as file:
                assert (file.read(4) == b"QFI\xfb") == (kind == "qcow2"), (version, disk_format)


if __name__ == "__main__":
    tap.main(Snapshots)
